// A dashboard as Grafana publishes its types, strict for each kind of panel we use: an option or a property of another kind, or a misspelt
// one, is refused. Only its types are read; it is never run.

import type * as grafana from '../../node_modules/@grafana/schema/dist/types/raw/dashboard/x/types.gen';
import type { Options as BarGaugeOptions } from '../../node_modules/@grafana/schema/dist/types/raw/composable/bargauge/panelcfg/x/types.gen';
import type { Options as StatOptions } from '../../node_modules/@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type { FieldConfig as TableField, Options as TableOptions } from '../../node_modules/@grafana/schema/dist/types/raw/composable/table/panelcfg/x/types.gen';
import type { FieldConfig as TimeseriesField, Options as TimeseriesOptions } from '../../node_modules/@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';

/** A query of Prometheus. */
interface PrometheusTarget {
  refId: string;
  datasource: { type: 'prometheus'; uid: string };
  expr: string;
  instant: boolean;
  range: boolean;
  format?: 'time_series' | 'table';
  legendFormat?: string;
}

/** A query of ClickHouse, as its plug-in takes it. */
interface ClickHouseTarget {
  refId: string;
  datasource: { type: 'grafana-clickhouse-datasource'; uid: string };
  editorType: 'sql';
  queryType: 'timeseries' | 'table';
  format: 0 | 1;
  rawSql: string;
}

/** A property that is overridden is checked as a default is: see validate.mjs. */
interface Override {
  matcher: { id: 'byName' | 'byFrameRefID'; options: string };
  properties: { id: string; value: unknown }[];
}

interface FieldConfig<Custom> extends Omit<grafana.FieldConfig, 'custom' | 'unit' | 'links'> {
  unit: string;
  fieldMinMax?: boolean;
  links?: { title: string; url: string; targetBlank: boolean }[];
  custom?: Partial<Custom>;
}

/** What the panels of all kinds have; `title`, `description` and the unit are needed here. */
interface Panel<Type extends string, Options, Custom> extends Omit<grafana.Panel, 'type' | 'options' | 'fieldConfig' | 'targets'> {
  type: Type;
  id: number;
  title: string;
  description: string;
  datasource: grafana.DataSourceRef;
  gridPos: { h: number; w: number; x: number; y: number };
  options: Partial<Options>;
  targets: (PrometheusTarget | ClickHouseTarget)[];
  fieldConfig: {
    defaults: FieldConfig<Custom>;
    overrides: Override[];
  };
}

interface NoneOfItsOwn {}

/** The kinds of panels there may be, by their `type`. */
export interface Panels {
  row: grafana.RowPanel;
  stat: Panel<'stat', StatOptions, NoneOfItsOwn>;
  bargauge: Panel<'bargauge', BarGaugeOptions, NoneOfItsOwn>;
  table: Panel<'table', TableOptions, TableField>;
  timeseries: Panel<'timeseries', TimeseriesOptions, TimeseriesField>;
}

/** The SDK writes the settings of an interval variable for all kinds; the definition is what the list of variables shows. */
interface Variable extends grafana.VariableModel {
  definition?: string;
  auto: false;
  auto_min: string;
  auto_count: number;
}

/** Marks of what a Prometheus query finds. */
interface Annotation extends grafana.AnnotationQuery {
  expr: string;
  step: string;
  titleFormat: string;
  textFormat: string;
}

export interface Dashboard extends Omit<grafana.Dashboard, 'panels' | 'templating' | 'annotations'> {
  uid: string;
  title: string;
  description: string;
  /** Each is checked by its kind. */
  panels: unknown[];
  templating: { list: Variable[] };
  annotations: { list: Annotation[] };
}

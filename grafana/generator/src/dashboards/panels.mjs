// The kinds of panels the dashboards use, with what they have in common. A panel without title, description and unit is refused.

import * as common from '@grafana/grafana-foundation-sdk/common';
import { FieldColorBuilder, FieldColorModeId, ThresholdsConfigBuilder, ThresholdsMode } from '@grafana/grafana-foundation-sdk/dashboard';
import { PanelBuilder as BarGaugePanel } from '@grafana/grafana-foundation-sdk/bargauge';
import { PanelBuilder as StatPanel } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as TablePanel } from '@grafana/grafana-foundation-sdk/table';
import { PanelBuilder as TimeseriesPanel } from '@grafana/grafana-foundation-sdk/timeseries';

/** Colours mean the same on every dashboard. */
export const colour = { good: 'green', bad: 'red', attention: 'orange', plain: 'blue', faint: '#8e8e99', text: 'text' };

/** Units. Money has none of Grafana's: its currency is in the panel's title. */
export const unit = { ratio: 'percentunit', count: 'locale', money: 'locale', shortMoney: 'short', seconds: 's', days: 'suffix: d', bytes: 'bytes', perSecond: 'suffix:/s', rank: 'none', text: 'string' };

/**
 * @typedef {object} Common
 * @property {string} title says what is counted
 * @property {string} description quotes what is counted
 * @property {string} unit
 * @property {number} width of 24
 * @property {number} height
 * @property {any[]} queries
 * @property {number} [decimals]
 * @property {[number | null, string][]} [thresholds] from which value on which colour
 * @property {[string, Record<string, any>][]} [fields] properties of single fields, by their name
 * @property {any[]} [transformations]
 * @property {any[]} [links] of the values
 */

/** @param {any} builder @param {Common} panel */
function base(builder, panel) {
  for (const need of ['title', 'description', 'unit']) {
    if (!panel[need]) throw new Error(`the panel “${panel.title}” has no ${need}`);
  }
  builder.title(panel.title).description(panel.description).unit(panel.unit).span(panel.width).height(panel.height);
  builder.datasource(panel.queries[0].build().datasource);
  panel.queries.forEach((query, index) => builder.withTarget(query.refId(String.fromCharCode(65 + index))));
  if (panel.decimals !== undefined) builder.decimals(panel.decimals);
  if (panel.thresholds) builder.thresholds(thresholds(panel.thresholds));
  if (panel.transformations) builder.transformations(panel.transformations);
  if (panel.links) builder.dataLinks(panel.links);
  for (const [name, properties] of panel.fields ?? []) builder.overrideByName(name, list(properties));
  return builder;
}

const list = (properties) => Object.entries(properties).map(([id, value]) => ({ id, value }));

function thresholds(steps) {
  return new ThresholdsConfigBuilder().mode(ThresholdsMode.Absolute).steps(steps.map(([value, color]) => ({ value, color })));
}

const latest = () => new common.ReduceDataOptionsBuilder().calcs(['lastNotNull']).values(false).fields('');

/** One number, or a few beside each other. Coloured only where thresholds say what the colour means. @param {Common} panel */
export function stat(panel) {
  const builder = base(new StatPanel(), panel)
    .graphMode(common.BigValueGraphMode.None)
    .colorMode(panel.thresholds || panel.fields ? common.BigValueColorMode.Value : common.BigValueColorMode.None)
    .justifyMode(common.BigValueJustifyMode.Auto)
    .textMode(panel.queries.length > 1 ? common.BigValueTextMode.ValueAndName : common.BigValueTextMode.Value)
    .orientation(common.VizOrientation.Auto)
    .wideLayout(true)
    .reduceOptions(latest());
  if (!panel.thresholds) builder.thresholds(thresholds([[null, colour.text]]));
  return builder;
}

/**
 * Lines or bars over time.
 * @param {Common & { bars?: boolean, stacked?: boolean, min?: number, softMax?: number, name?: string }} panel `softMax`: how far the axis goes at least; `name`: of a series
 */
export function timeseries(panel) {
  const builder = base(new TimeseriesPanel(), panel)
    .drawStyle(panel.bars ? common.GraphDrawStyle.Bars : common.GraphDrawStyle.Line)
    .lineWidth(panel.bars || panel.stacked ? 1 : 2)
    .fillOpacity(panel.bars || panel.stacked ? 70 : 0)
    .gradientMode(common.GraphGradientMode.None)
    .lineInterpolation(common.LineInterpolation.Linear)
    .showPoints(common.VisibilityMode.Never)
    .spanNulls(true)
    .axisPlacement(common.AxisPlacement.Auto)
    .axisLabel('')
    .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.PaletteClassic))
    .stacking(new common.StackingConfigBuilder().mode(panel.stacked ? common.StackingMode.Normal : common.StackingMode.None).group('A'))
    .legend(
      new common.VizLegendOptionsBuilder()
        .showLegend(true)
        .displayMode(common.LegendDisplayMode.List)
        .placement(common.LegendPlacement.Bottom)
        .calcs([]),
    )
    .tooltip(new common.VizTooltipOptionsBuilder().mode(common.TooltipDisplayMode.Multi).sort(common.SortOrder.Descending));
  if (panel.min !== undefined) builder.min(panel.min);
  if (panel.name) builder.displayName(panel.name);
  if (panel.softMax !== undefined) builder.axisSoftMax(panel.softMax);
  return builder;
}

/** Properties of the fields of a line with its confidence band: names of the line, its lower and its upper bound. */
export function band(line, low, high) {
  const fixed = { color: { mode: 'fixed', fixedColor: colour.plain } };
  const edge = { ...fixed, 'custom.lineWidth': 0, 'custom.hideFrom': { legend: true, tooltip: false, viz: false } };
  return [
    [line, fixed],
    [low, edge],
    [high, { ...edge, 'custom.fillBelowTo': low, 'custom.fillOpacity': 18 }],
  ];
}

/** Rows. `fields` has the unit of every column that does not have the panel's. @param {Common & { sort?: [string, boolean] }} panel */
export function table(panel) {
  const builder = base(new TablePanel(), panel)
    .showHeader(true)
    .cellHeight(common.TableCellHeight.Sm)
    .align(common.FieldTextAlignment.Auto)
    .minWidth(60)
    .cellOptions({ type: 'auto' })
    .sortBy(panel.sort ? [new common.TableSortByFieldStateBuilder().displayName(panel.sort[0]).desc(panel.sort[1])] : []);
  if (!panel.thresholds) builder.thresholds(thresholds([[null, colour.text]]));
  return builder;
}

/** Bars that can be compared: one for each value. @param {Common} panel */
export function barGauge(panel) {
  const builder = base(new BarGaugePanel(), panel)
    .orientation(common.VizOrientation.Horizontal)
    .displayMode(common.BarGaugeDisplayMode.Basic)
    .valueMode(common.BarGaugeValueMode.Text)
    .namePlacement(common.BarGaugeNamePlacement.Left)
    .showUnfilled(true)
    .sizing(common.BarGaugeSizing.Auto)
    .text(new common.VizTextDisplayOptionsBuilder().titleSize(12).valueSize(16))
    .min(0)
    .colorScheme(new FieldColorBuilder().mode(panel.thresholds ? FieldColorModeId.Thresholds : FieldColorModeId.Fixed).fixedColor(colour.plain))
    .reduceOptions(latest());
  if (!panel.thresholds) builder.thresholds(thresholds([[null, colour.plain]]));
  return builder;
}

/**
 * One table of several queries whose rows have the same columns `keys`.
 * @param {string[]} keys the labels the rows have in common @param {string[]} keyNames how their columns are headed
 * @param {string[]} names how the columns of the queries' values are headed, in their order
 */
export function joined(keys, keyNames, names) {
  const values = names.map((_, index) => (names.length === 1 ? 'Value' : `Value #${String.fromCharCode(65 + index)}`));
  const columns = [...keys, ...values];
  const headings = [...keyNames, ...names];
  return [
    { id: 'merge', options: {} },
    {
      id: 'organize',
      options: {
        excludeByName: { Time: true },
        indexByName: Object.fromEntries(columns.map((name, index) => [name, index])),
        renameByName: Object.fromEntries(columns.map((name, index) => [name, headings[index]])),
      },
    },
  ];
}

/** A cell drawn as a bar as long as its number. */
export const bar = {
  'custom.cellOptions': { type: 'gauge', mode: 'basic', valueDisplayMode: 'text' },
  color: { mode: 'fixed', fixedColor: colour.plain },
  fieldMinMax: true,
  min: 0,
};
/** Properties of a field whose colour says where it is. */
export const coloured = (steps) => ({ thresholds: { mode: 'absolute', steps: steps.map(([value, color]) => ({ value, color })) } });
/** A link of a value or a column. */
export const link = (title, url) => ({ title, url, targetBlank: false });

// What is in a panel: its frames, transformed and configured as Grafana does, in the component of its kind.

import { applyFieldOverrides, dateTime, getDisplayValueAlignmentFactors, getFieldDisplayValues, toDataFrame, transformDataFrame } from '@grafana/data';
import { BarGauge, BigValue, Table, TimeSeries, VizRepeater } from '@grafana/ui';
import { useEffect, useMemo, useState } from 'react';

import { loaded, registry } from './fields.js';

export function Content({ panel: saved, width, height, theme, time }) {
  const panel = useMemo(() => loaded(saved), [saved]);
  const [frames, setFrames] = useState();
  useEffect(() => {
    const subscription = transformDataFrame(panel.transformations ?? [], panel.frames.map(toDataFrame)).subscribe((data) =>
      setFrames(
        applyFieldOverrides({ data, fieldConfig: panel.fieldConfig, fieldConfigRegistry: registry(panel), replaceVariables: replaced, theme, timeZone: time.zone }),
      ),
    );
    return () => subscription.unsubscribe();
  }, [panel]);
  if (!frames) return null;
  if (frames.length === 0) return <div>No data</div>;
  const Kind = { stat: Stat, bargauge: Bars, table: Rows, timeseries: Lines }[panel.type];
  return <Kind panel={panel} frames={frames} width={width} height={height} theme={theme} time={time} />;
}

/** Titles have their variables replaced already, and links are not followed. */
const replaced = (text) => text;

function displayed({ panel, frames, theme, time }) {
  return getFieldDisplayValues({ data: frames, fieldConfig: panel.fieldConfig, reduceOptions: panel.options.reduceOptions, replaceVariables: replaced, theme, timeZone: time.zone });
}

/** Values beside each other, of one size. */
function Values({ panel, frames, width, height, theme, time, value }) {
  const values = displayed({ panel, frames, theme, time });
  return (
    <VizRepeater
      source={frames}
      getValues={() => values}
      getAlignmentFactors={(all) => getDisplayValueAlignmentFactors(all)}
      renderValue={value}
      width={width}
      height={height}
      renderCounter={0}
      orientation={panel.options.orientation}
      autoGrid={panel.type === 'stat'}
      itemSpacing={panel.type === 'stat' ? 3 : 8}
      minVizHeight={16}
      maxVizHeight={300}
    />
  );
}

function Stat(props) {
  const { options } = props.panel;
  return (
    <Values
      {...props}
      value={({ value, width, height, count, alignmentFactors }) => (
        <BigValue
          value={value.display}
          count={count}
          width={width}
          height={height}
          theme={props.theme}
          alignmentFactors={alignmentFactors}
          colorMode={options.colorMode}
          graphMode={options.graphMode}
          justifyMode={options.justifyMode}
          textMode={options.textMode}
          wideLayout={options.wideLayout}
        />
      )}
    />
  );
}

function Bars(props) {
  const { options } = props.panel;
  return (
    <Values
      {...props}
      value={({ value, width, height, orientation, alignmentFactors }) => (
        <BarGauge
          value={value.display}
          field={value.field}
          display={value.view?.getFieldDisplayProcessor(value.colIndex)}
          width={width}
          height={height}
          theme={props.theme}
          orientation={orientation}
          alignmentFactors={alignmentFactors}
          displayMode={options.displayMode}
          valueDisplayMode={options.valueMode}
          namePlacement={options.namePlacement}
          showUnfilled={options.showUnfilled}
          text={options.text}
          itemSpacing={8}
        />
      )}
    />
  );
}

function Rows({ panel, frames, width, height, time }) {
  return <Table data={frames[0]} width={width} height={height} initialSortBy={panel.options.sortBy} cellHeight={panel.options.cellHeight} timeRange={range(time)} />;
}

function Lines({ panel, frames, width, height, time }) {
  return <TimeSeries frames={frames} width={width} height={height} timeRange={range(time)} timeZone={time.zone} legend={panel.options.legend} />;
}

function range({ from, to }) {
  return { from: dateTime(from), to: dateTime(to), raw: { from: dateTime(from), to: dateTime(to) } };
}

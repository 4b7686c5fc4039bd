// The properties of fields that a panel sets, in the form Grafana keeps its own in: without them defaults and overrides are passed over.

import { Registry } from '@grafana/data';

/** A panel as Grafana has it in memory: JSON knows no infinity, and says null where the lowest threshold begins. */
export function loaded(panel) {
  const copy = structuredClone(panel);
  const { defaults, overrides } = copy.fieldConfig;
  const properties = overrides.flatMap((override) => override.properties);
  const thresholds = [defaults.thresholds, ...properties.filter(({ id }) => id === 'thresholds').map(({ value }) => value)];
  for (const step of thresholds.flatMap((each) => each?.steps ?? [])) step.value ??= -Infinity;
  return copy;
}

/** Every property is applied as it is. @param {any} panel */
export function registry(panel) {
  const { defaults, overrides } = panel.fieldConfig;
  const ids = new Set(overrides.flatMap(({ properties }) => properties.map(({ id }) => id)));
  Object.keys(defaults).filter((key) => key !== 'custom').forEach((key) => ids.add(key));
  Object.keys(defaults.custom ?? {}).forEach((key) => ids.add(`custom.${key}`));
  return new Registry(() => [...ids].map(property));
}

function property(id) {
  const isCustom = id.startsWith('custom.');
  const process = id === 'displayName' ? (value, { field }) => withLabels(value, field) : (value) => value;
  return { id, path: isCustom ? id.slice('custom.'.length) : id, name: id, isCustom, process, shouldApply: () => true };
}

/** `${__field.labels.NAME}` in the name of a series. */
function withLabels(text, field) {
  return text?.replace(/\$\{__field\.labels\.(\w+)\}/g, (_, label) => field?.labels?.[label] ?? '');
}

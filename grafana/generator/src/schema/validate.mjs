// The dashboards against Grafana's published types, which become a JSON schema.

import Ajv from 'ajv';
import { fileURLToPath } from 'node:url';
import { createGenerator } from 'ts-json-schema-generator';

/** A function that lists what is wrong with a dashboard. */
export function validator() {
  const path = fileURLToPath(new URL('dashboard.ts', import.meta.url));
  const generator = createGenerator({ path, skipTypeCheck: true, additionalProperties: false });
  const ajv = new Ajv({ strict: false, allErrors: true });
  const dashboards = ajv.compile(generator.createSchema('Dashboard'));
  const { definitions } = generator.createSchema('Panels');
  const kinds = new Map(Object.entries(definitions.Panels.properties).map(([kind, schema]) => [kind, ajv.compile({ ...schema, definitions })]));

  return (dashboard) => {
    const wrong = errors(dashboards, dashboard, dashboard.title);
    for (const panel of dashboard.panels) {
      const validate = kinds.get(panel.type);
      const name = `${dashboard.title}: “${panel.title}”`;
      if (validate === undefined) wrong.push(`${name} is a ${panel.type}, which is no kind of panel used here`);
      else [panel, ...overridden(panel)].forEach((each) => wrong.push(...errors(validate, each, name)));
    }
    return wrong;
  };
}

/** The panel once for every override, whose properties are then defaults: so they are checked by their types. */
function overridden(panel) {
  return (panel.fieldConfig?.overrides ?? []).map(({ properties }) => {
    const defaults = structuredClone(panel.fieldConfig.defaults);
    for (const { id, value } of properties) {
      const [name, custom] = id.split('.');
      if (name === 'custom') defaults.custom = { ...defaults.custom, [custom]: value };
      else defaults[id] = value;
    }
    return { ...panel, fieldConfig: { defaults, overrides: [] } };
  });
}

function errors(validate, value, name) {
  if (validate(value)) return [];
  return validate.errors.map(({ instancePath, message, params }) => `${name}: ${instancePath} ${message} ${JSON.stringify(params)}`);
}

// docs/openapi.yaml as a judge of real answers. Stack.request asks it about every answer of every test.
import { readFileSync } from 'node:fs';
import Ajv from 'ajv/dist/2020.js';
import { parse } from 'yaml';

export const api = parse(readFileSync(new URL('../../../docs/openapi.yaml', import.meta.url), 'utf8'), { maxAliasCount: 1000 });
const ajv = new Ajv({ strict: false });
ajv.addSchema({ $id: 'api', components: api.components });
const within = (schema) => JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"api#/'));
const at = (ref) => ref.slice(2).split('/').reduce((o, name) => o[name], api);
const resolve = (o) => (o?.$ref ? at(o.$ref) : o);

const templates = Object.keys(api.paths).map((template) => ({
  template,
  fixed: !template.includes('{'),
  pattern: new RegExp(`^${template.replace(/[.*+?^$()|[\]\\]/g, '\\$&').replace(/\{[^}]+\}/g, '[^/]+')}/?$`),
})).sort((x, y) => y.fixed - x.fixed);

/** The path as openapi.yaml writes it, or undefined when it is not described. */
export const templateOf = (path) => templates.find((t) => t.pattern.test(path))?.template;

const compiled = new Map();
function validator(schema) {
  const text = JSON.stringify(within(schema));
  if (!compiled.has(text)) compiled.set(text, ajv.compile(JSON.parse(text)));
  return compiled.get(text);
}

/** What is wrong with an answer: a text, or null. get(name) gives a header's value or null. */
export function judge(method, target, status, get, body) {
  const template = templateOf(target.split('?')[0]);
  const operation = template && api.paths[template][method.toLowerCase()];
  if (!operation) return null;
  const where = () => `${method} ${target} ${status} ${body.slice(0, 400)}`;
  const said = resolve(operation.responses[status] ?? operation.responses[`${String(status)[0]}XX`] ?? operation.responses.default);
  if (!said) return `undocumented: ${where()}`;
  for (const [name, h] of Object.entries(said.headers ?? {})) {
    const { schema } = resolve(h);
    const value = get(name);
    if (value !== null && !validator(schema)(schema.type === 'string' || schema.const ? value : Number(value))) return `header ${name}: ${value} of ${where()}`;
  }
  const json = said.content?.['application/json'];
  if (!json || !/json/.test(get('content-type') ?? '')) return null;
  const fits = validator(json.schema);
  return fits(JSON.parse(body)) ? null : `${JSON.stringify(fits.errors)} of ${where()}`;
}

// docs/openapi.yaml as a judge of real answers; witness.mjs asks it about every answer of every test.
import { readFileSync } from 'node:fs';
import Ajv from 'ajv/dist/2020.js';
import { parse } from 'yaml';

export const api = parse(readFileSync(new URL('../../../docs/openapi.yaml', import.meta.url), 'utf8'), { maxAliasCount: 1000 });
const ajv = new Ajv({ strict: false, allowUnionTypes: true });
ajv.addSchema({ $id: 'api', components: api.components });
const within = (schema) => JSON.parse(JSON.stringify(schema).replaceAll('"#/', '"api#/'));
const at = (ref) => ref.slice(2).split('/').reduce((o, name) => o[name], api);
const resolve = (o) => (o?.$ref ? at(o.$ref) : o);

// {service}/{path} and a model's name may hold slashes; other parameters may not
const part = (name) => (name === 'path' || name === 'model' ? '.+' : '[^/]+');
const templates = Object.keys(api.paths).map((template) => ({
  template,
  fixed: template.replace(/\{[^}]+\}/g, '').length + (template.includes('{') ? 0 : 1000),
  pattern: new RegExp(`^${template.replace(/[.*+?^$()|[\]\\]/g, '\\$&').replace(/\{([^}]+)\}/g, (_, name) => part(name))}/?$`),
})).sort((x, y) => y.fixed - x.fixed);

const METHODS = ['get', 'put', 'post', 'delete', 'patch'];
const codes = api.components.schemas.ErrorCode['x-status'];

/** The path as openapi.yaml writes it, or undefined when it is not described. */
export const templateOf = (path, method) => {
  const fit = templates.filter((t) => t.pattern.test(path)).map((t) => t.template);
  return fit.find((t) => method && api.paths[t][method.toLowerCase()]) ?? fit[0];
};

/** Every described operation, as "METHOD path". */
export const operations = () => Object.entries(api.paths).flatMap(([path, o]) =>
  METHODS.filter((m) => o[m]).map((m) => `${m.toUpperCase()} ${path}`));

const compiled = new Map();
function validator(schema) {
  const text = JSON.stringify(within(schema));
  if (!compiled.has(text)) compiled.set(text, ajv.compile(JSON.parse(text)));
  return compiled.get(text);
}
function misfit(schema, value) {
  const fits = validator(schema);
  return fits(value) ? null : JSON.stringify(fits.errors.slice(0, 4));
}

/** What is described of this answer: {said} or {wrong}. */
function described(a, path) {
  const named = (name, status) => (a.status === status ? { said: api.components.responses[name] } : { wrong: `${status} is described` });
  if (a.method === 'OPTIONS') return named('Preflight', 204);
  const all = templates.filter((t) => t.pattern.test(path));
  if (!all.length) return named('NoSuchPath', 404);
  const template = templateOf(path, a.method);
  const operation = api.paths[template][a.method.toLowerCase()];
  if (!operation) {
    const may = [...new Set(all.flatMap((t) => METHODS.filter((m) => api.paths[t.template][m]).map((m) => m.toUpperCase())))].sort();
    const allow = (a.headers.allow ?? '').split(/,\s*/).filter((m) => m).sort();
    const wrong = a.status === 405 && allow.join() !== may.join() ? `Allow is ${allow}, described are ${may}` : null;
    // an undescribed service is an unknown path whatever the method
    return template.startsWith('/svc/') && a.status === 404 ? named('NoSuchPath', 404) : wrong ? { wrong } : named('WrongMethod', 405);
  }
  const said = resolve(operation.responses[a.status] ?? operation.responses[`${String(a.status)[0]}XX`] ?? operation.responses.default);
  return said ? { said } : { wrong: 'the status is not described' };
}

function headersMisfit(said, headers) {
  for (const [name, h] of Object.entries(said.headers ?? {})) {
    const { schema, required } = resolve(h);
    const value = headers[name.toLowerCase()];
    if (value === undefined && required) return `header ${name} is missing`;
    const typed = schema.type === 'integer' || schema.type === 'number' ? Number(value) : value;
    if (value !== undefined && misfit(schema, typed)) return `header ${name} is ${value}`;
  }
  return null;
}

/** The described media type that an answer's fits. */
function mediaOf(said, type) {
  const media = type.split(';')[0].trim().toLowerCase();
  const fits = (range) => range === '*/*' || range === media || (range.endsWith('/*') && media.startsWith(range.slice(0, -1)));
  const range = Object.keys(said.content ?? {}).find(fits);
  return range === undefined ? undefined : { media, ...said.content[range] };
}

const isTest = (sent) => /(?:^|[\s=])(?:sk|aitk)[-_]test[-_]/.test([sent.authorization, sent['x-api-key'], sent['x-goog-api-key'], sent['api-key']].join(' '));

/** Whether a refusal that was formed here has the status of its code. */
function codeMisfit(body, status) {
  const code = body?.code ?? body?.error?.code;
  return status !== 200 && typeof code === 'string' && code in codes && codes[code] !== status ? `${code} is described with ${codes[code]}` : null;
}

/** Events: those of a test key's answer are ours, of the others only the one that tells of a broken stream. */
function eventsMisfit(content, text, ours) {
  for (const event of text.split('\n\n').slice(0, -1)) {
    const data = event.split('\n').filter((l) => l.startsWith('data:')).map((l) => l.slice(5).trim()).join('\n');
    if (!data || data === '[DONE]') continue;
    let said;
    try { said = JSON.parse(data); } catch { if (ours) return `an event is no JSON: ${data.slice(0, 200)}`; continue; }
    const broke = said?.error && (ours || said.error.code in codes || 'request_id' in said);
    const schema = broke ? content['x-event-error'] : ours ? content['x-event'] : null;
    const wrong = schema && misfit(schema, said);
    if (wrong) return `${wrong} of the event ${data.slice(0, 200)}`;
  }
  return null;
}

/** A body that a provider formed is not ours to describe; its status and media type are. */
function bodyMisfit(a, path, said, content) {
  const attempted = 'x-tollgate-overhead-ms' in a.headers;
  const ours = !attempted || (isTest(a.sent) && !path.startsWith('/svc/'));
  if (content.media === 'text/event-stream') return path.startsWith('/svc/') ? null : eventsMisfit(content, a.body, ours);
  if (content.media !== 'application/json' || !a.whole) return null;
  if (!ours && (a.status < 400 || path.startsWith('/svc/'))) return null;
  const body = JSON.parse(a.body);
  // a refusal after a provider was asked is known by a type or an id that no provider gives
  const own = !attempted || ['upstream_error', 'service_unavailable'].includes(body.error?.type) || body.request_id === a.headers['x-request-id'];
  // the first alternative is the gateway's own shape, the second a provider's
  const schema = !own || !content.schema.anyOf || said === api.components.responses.NoSuchPath || said === api.components.responses.WrongMethod
    ? content.schema : content.schema.anyOf[0];
  return misfit(schema, body) ?? (own ? codeMisfit(body, a.status) : null);
}

/** What is wrong with an answer {method, target, sent (headers), status, headers, body, whole}: a text, or null. */
export function judge(a) {
  const path = a.target.replace(/^https?:\/\/[^/]*/, '').split('?')[0];
  const byWebServer = !('x-request-id' in a.headers) && (path === '/' || /^text\/html/.test(a.headers['content-type'] ?? ''));
  if (byWebServer) return null;
  const where = `${a.method} ${a.target.slice(0, 200)} ${a.status} ${JSON.stringify(a.headers)} ${a.body.slice(0, 400)}`;
  const { said, wrong } = described(a, path);
  if (wrong) return `${wrong}: ${where}`;
  const bad = headersMisfit(said, a.headers);
  if (bad) return `${bad}: ${where}`;
  // the gateway's own 503 says when to ask again, a provider's need not
  if (a.status === 503 && !('x-tollgate-overhead-ms' in a.headers) && !('retry-after' in a.headers)) return `header Retry-After is missing: ${where}`;
  if (!said.content) return a.body === '' ? null : `a body is not described: ${where}`;
  const type = a.headers['content-type'];
  if (type === undefined && a.body === '' && (a.status === 204 || a.status === 304 || said.content['*/*'])) return null;
  const content = mediaOf(said, type ?? '');
  if (!content) return `the content type is not described: ${where}`;
  const misfits = bodyMisfit(a, path, said, content);
  return misfits ? `${misfits}: ${where}` : null;
}

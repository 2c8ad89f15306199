// The official SDKs against the gateway, with a provider of ours behind it.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import OpenAI from 'openai';
import Anthropic from '@anthropic-ai/sdk';
import { GoogleGenAI } from '@google/genai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { generateText, streamText } from 'ai';
import { Provider, chatAnswer, chatStream, sleep, usage } from './lib/provider.mjs';
import { ANTHROPIC_MODELS, GEMINI_MODELS, OPENAI_MODELS, Stack, eventually } from './lib/stack.mjs';

let s, openai, anthropic, gemini;
before(async () => {
  s = await Stack.start();
  openai = new OpenAI({ apiKey: s.key, baseURL: `${s.url}/v1`, maxRetries: 0 });
  anthropic = new Anthropic({ apiKey: s.key, baseURL: s.url, maxRetries: 0 });
  gemini = new GoogleGenAI({ apiKey: s.key, httpOptions: { baseUrl: s.url } });
});
after(() => s?.stop());

const say = (c) => [{ role: 'user', content: `hi ${c.mark}` }];

test('openai: the model list names what the key may use, and one can be retrieved', async () => {
  const names = [];
  for await (const m of openai.models.list()) names.push(m.id);
  for (const m of OPENAI_MODELS) assert.ok(names.includes(m), m);
  const one = await openai.models.retrieve('gpt-4o');
  assert.equal(one.id, 'gpt-4o');
  assert.equal(one.object, 'model');
});

test('openai: a chat answer arrives with its usage', async () => {
  const c = s.provider.play((x) => x.answer(200, chatAnswer('the answer')));
  const r = await openai.chat.completions.create({ model: 'gpt-4o-mini', messages: say(c) });
  assert.equal(r.choices[0].message.content, 'the answer');
  assert.deepEqual(r.usage, usage(11, 7));
  assert.equal(c.seen[0].url, '/v1/chat/completions');
  assert.equal(c.seen[0].headers.authorization, 'Bearer sk-upstream-openai-0123456789abcdefghij');
});

test('openai: a stream without usage ends without a usage chunk', async () => {
  const c = s.provider.play((x) => chatStream(x, { n: 3 }));
  let text = '', chunks = 0;
  for await (const e of await openai.chat.completions.create({ model: 'gpt-4o-mini', stream: true, messages: say(c) })) {
    text += e.choices[0].delta.content ?? '';
    assert.equal(e.usage ?? null, null);
    chunks++;
  }
  assert.equal(text, 'w0 w1 w2 ');
  assert.equal(chunks, 4);
});

test('openai: a stream with usage ends with it', async () => {
  const c = s.provider.play((x) => chatStream(x, { n: 2, usage: usage(21, 4) }));
  let last;
  for await (const e of await openai.chat.completions.create({ model: 'gpt-4o-mini', stream: true, stream_options: { include_usage: true }, messages: say(c) })) last = e;
  assert.deepEqual(last.choices, []);
  assert.deepEqual(last.usage, usage(21, 4));
});

test('openai: a tool call comes through, stream and not', async () => {
  const call = { id: 'call_1', type: 'function', function: { name: 'weather', arguments: '{"city":"Hanoi"}' } };
  const tools = [{ type: 'function', function: { name: 'weather', parameters: { type: 'object', properties: { city: { type: 'string' } } } } }];
  const c = s.provider.play((x) => {
    assert.deepEqual(x.json.tools, tools);
    if (!x.json.stream) return x.answer(200, chatAnswer(null, { choices: [{ index: 0, finish_reason: 'tool_calls', message: { role: 'assistant', content: null, tool_calls: [call] } }] }));
    x.stream();
    for (const part of ['{"city":', '"Hanoi"}']) {
      x.event({ id: 'c', object: 'chat.completion.chunk', created: 1, model: 'm', choices: [{ index: 0, finish_reason: null, delta: { tool_calls: [{ index: 0, id: 'call_1', type: 'function', function: { name: 'weather', arguments: part } }] } }] });
    }
    x.event('[DONE]');
    return x.end();
  });
  const r = await openai.chat.completions.create({ model: 'gpt-4o-mini', messages: say(c), tools });
  assert.deepEqual(r.choices[0].message.tool_calls[0], call);
  let args = '';
  for await (const e of await openai.chat.completions.create({ model: 'gpt-4o-mini', messages: say(c), tools, stream: true })) args += e.choices[0]?.delta.tool_calls?.[0].function.arguments ?? '';
  assert.equal(args, '{"city":"Hanoi"}');
});

test('openai: embeddings', async () => {
  const r = await openai.embeddings.create({ model: 'text-embedding-3-small', input: 'x', encoding_format: 'float' });
  assert.deepEqual(r.data[0].embedding, [0.5, -0.25]);
  assert.equal(r.usage.prompt_tokens, 3);
});

const response = { id: 'resp_1', object: 'response', created_at: 1, status: 'completed', model: 'o4-mini',
  output: [{ type: 'message', id: 'msg_1', role: 'assistant', status: 'completed', content: [{ type: 'output_text', text: 'yes', annotations: [] }] }],
  usage: { input_tokens: 9, output_tokens: 2, total_tokens: 11, input_tokens_details: { cached_tokens: 4 }, output_tokens_details: { reasoning_tokens: 1 } } };

test('openai: responses, stream and not, with usage recorded', async () => {
  const c = s.provider.play((x) => {
    assert.equal(x.url, '/v1/responses');
    if (!x.json.stream) return x.answer(200, response);
    x.stream();
    x.event({ type: 'response.created', sequence_number: 0, response: { ...response, status: 'in_progress', usage: null } }, 'response.created');
    x.event({ type: 'response.output_text.delta', sequence_number: 1, item_id: 'msg_1', output_index: 0, content_index: 0, delta: 'yes' }, 'response.output_text.delta');
    x.event({ type: 'response.completed', sequence_number: 2, response }, 'response.completed');
    return x.end();
  });
  const r = await openai.responses.create({ model: 'o4-mini', input: c.mark }).withResponse();
  assert.equal(r.data.output_text, 'yes');
  const row = await s.usageOf(r.response.headers.get('x-request-id'));
  assert.equal(row.prompt + row.cached >= 9, true);
  assert.equal(row.completion, 2);
  const kinds = [];
  for await (const e of await openai.responses.create({ model: 'o4-mini', input: c.mark, stream: true })) kinds.push(e.type);
  assert.deepEqual(kinds, ['response.created', 'response.output_text.delta', 'response.completed']);
});

const message = { id: 'msg_1', type: 'message', role: 'assistant', model: 'claude', content: [{ type: 'text', text: 'bonjour' }], stop_reason: 'end_turn', stop_sequence: null, usage: { input_tokens: 12, output_tokens: 3 } };

function anthropicStream(x) {
  x.stream();
  const e = (data) => x.event(data, data.type);
  e({ type: 'message_start', message: { ...message, content: [], stop_reason: null, usage: { input_tokens: 12, output_tokens: 1 } } });
  e({ type: 'content_block_start', index: 0, content_block: { type: 'text', text: '' } });
  e({ type: 'content_block_delta', index: 0, delta: { type: 'text_delta', text: 'bonjour' } });
  e({ type: 'content_block_stop', index: 0 });
  e({ type: 'message_delta', delta: { stop_reason: 'end_turn', stop_sequence: null }, usage: { output_tokens: 3 } });
  e({ type: 'message_stop' });
  x.end();
}

test('anthropic: messages, stream and not; version header and key go to the provider as its own', async () => {
  const c = s.provider.play((x) => (x.json.stream ? anthropicStream(x) : x.answer(200, message)));
  const ask = { model: ANTHROPIC_MODELS[0], max_tokens: 100, messages: say(c) };
  const { data, response: r } = await anthropic.messages.create(ask).withResponse();
  assert.equal(data.content[0].text, 'bonjour');
  const row = await s.usageOf(r.headers.get('x-request-id'));
  assert.deepEqual([row.prompt, row.completion], [12, 3]);
  const q = c.seen[0];
  assert.equal(q.url.split('?')[0], '/v1/messages');
  assert.equal(q.headers['x-api-key'], 'sk-upstream-anthropic-0123456789abcdefghij');
  assert.match(q.headers['anthropic-version'], /^20\d\d-\d\d-\d\d$/);
  assert.equal(q.headers.authorization, undefined);
  const m = await anthropic.messages.stream(ask).finalMessage();
  assert.equal(m.content[0].text, 'bonjour');
  assert.equal(m.usage.output_tokens, 3);
});

test('anthropic: count_tokens', async () => {
  const c = s.provider.play((x) => x.answer(200, { input_tokens: 42 }));
  const r = await anthropic.messages.countTokens({ model: ANTHROPIC_MODELS[0], messages: say(c) });
  assert.equal(r.input_tokens, 42);
  assert.equal(c.seen[0].url.split('?')[0], '/v1/messages/count_tokens');
});

const candidate = { candidates: [{ content: { role: 'model', parts: [{ text: 'xin chao' }] }, finishReason: 'STOP', index: 0 }],
  usageMetadata: { promptTokenCount: 6, candidatesTokenCount: 2, totalTokenCount: 8 } };

test('gemini: generateContent, stream and not, with usage recorded', async () => {
  const c = s.provider.play((x) => {
    assert.equal(x.headers['x-goog-api-key'], 'sk-upstream-gemini-0123456789abcdefghij');
    if (x.url.includes(':streamGenerateContent')) {
      x.stream();
      x.event(candidate);
      return x.end();
    }
    assert.equal(x.url, `/v1beta/models/${GEMINI_MODELS[0]}:generateContent`);
    return x.answer(200, candidate);
  });
  const r = await gemini.models.generateContent({ model: GEMINI_MODELS[0], contents: c.mark });
  assert.equal(r.text, 'xin chao');
  const row = await eventually(async () => (await s.sql(`SELECT * FROM usage_rows WHERE model = '${GEMINI_MODELS[0]}' ORDER BY id DESC LIMIT 1`))[0]);
  assert.deepEqual([row.prompt, row.completion], [6, 2]);
  let text = '';
  for await (const e of await gemini.models.generateContentStream({ model: GEMINI_MODELS[0], contents: c.mark })) text += e.text;
  assert.equal(text, 'xin chao');
  assert.ok(c.seen.every((x) => !x.url.includes(s.key)));
});

test('ai sdk: generateText and streamText', async () => {
  const site = createOpenAICompatible({ name: 'tollgate', apiKey: s.key, baseURL: `${s.url}/v1`, includeUsage: true });
  const c = s.provider.play((x) => (x.json.stream ? chatStream(x, { n: 3 }) : x.answer(200, chatAnswer('fine'))));
  const r = await generateText({ model: site('gpt-4o-mini'), prompt: c.mark, maxRetries: 0 });
  assert.equal(r.text, 'fine');
  const st = streamText({ model: site('gpt-4o-mini'), prompt: c.mark, maxRetries: 0 });
  let text = '';
  for await (const t of st.textStream) text += t;
  assert.equal(text, 'w0 w1 w2 ');
  assert.equal((await st.usage).inputTokens, 11);
});

test('each SDK works against the sandbox with a test key, no provider involved', async () => {
  const before = s.provider.seen.length;
  const o = new OpenAI({ apiKey: s.testKey, baseURL: `${s.url}/v1`, maxRetries: 0 });
  const chat = await o.chat.completions.create({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'ping pong' }] });
  assert.match(chat.choices[0].message.content, /ping pong/);
  assert.ok(chat.usage.total_tokens > 0);
  let streamed = '';
  for await (const e of await o.chat.completions.create({ model: 'gpt-4o-mini', stream: true, messages: [{ role: 'user', content: 'ping pong' }] })) streamed += e.choices[0]?.delta.content ?? '';
  assert.match(streamed, /ping pong/);
  assert.ok((await o.embeddings.create({ model: 'text-embedding-3-small', input: 'x', encoding_format: 'float' })).data[0].embedding.length > 0);
  assert.match((await o.responses.create({ model: 'o4-mini', input: 'ping pong' })).output_text, /ping pong/);
  const a = new Anthropic({ apiKey: s.testKey, baseURL: s.url, maxRetries: 0 });
  const ask = { model: ANTHROPIC_MODELS[0], max_tokens: 100, messages: [{ role: 'user', content: 'ping pong' }] };
  assert.match((await a.messages.create(ask)).content[0].text, /ping pong/);
  assert.match((await a.messages.stream(ask).finalMessage()).content[0].text, /ping pong/);
  const g = new GoogleGenAI({ apiKey: s.testKey, httpOptions: { baseUrl: s.url } });
  assert.match((await g.models.generateContent({ model: GEMINI_MODELS[0], contents: 'ping pong' })).text, /ping pong/);
  assert.equal(s.provider.seen.length, before);
});

// ---- the SDK's own error class for each refusal ----

test('openai: 401 raises AuthenticationError', async () => {
  const o = new OpenAI({ apiKey: 'sk-wrong', baseURL: `${s.url}/v1`, maxRetries: 0 });
  await assert.rejects(o.models.list(), (e) => e instanceof OpenAI.AuthenticationError && e.status === 401 && e.code === 'invalid_api_key');
});

test('openai: 403 raises PermissionDeniedError', async () => {
  const key = await s.addKey('limited', ['--unlimited']);
  await s.sql("UPDATE api_keys SET model_limits_enabled = 1, model_limits = 'gpt-4o' WHERE name = 'limited'");
  const o = new OpenAI({ apiKey: key, baseURL: `${s.url}/v1`, maxRetries: 0 });
  await assert.rejects(o.chat.completions.create({ model: 'gpt-4o-mini', messages: [] }), (e) => e instanceof OpenAI.PermissionDeniedError && e.code === 'model_not_allowed');
});

test('openai: 404 raises NotFoundError', async () => {
  await assert.rejects(openai.chat.completions.create({ model: 'no-such-model', messages: [] }), (e) => e instanceof OpenAI.NotFoundError && e.code === 'model_not_found');
  await assert.rejects(openai.models.retrieve('no-such-model'), OpenAI.NotFoundError);
});

test('openai: 413 raises an APIError with its code', async () => {
  const big = 'x'.repeat((64 << 20) + 100);
  await assert.rejects(openai.chat.completions.create({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: big }] }),
    (e) => e instanceof OpenAI.APIError && e.status === 413 && e.code === 'request_too_large');
});

test('openai: 429 raises RateLimitError, from the gateway and from the provider', async () => {
  const key = await s.addKey('poor', ['--quota', '0']);
  const o = new OpenAI({ apiKey: key, baseURL: `${s.url}/v1`, maxRetries: 0 });
  await assert.rejects(o.chat.completions.create({ model: 'gpt-4o-mini', messages: [{ role: 'user', content: 'x' }] }),
    (e) => e instanceof OpenAI.RateLimitError && e.code === 'key_quota_exhausted');
  const p = await Provider.start();
  await s.addChannel({ name: 'limited', url: `${p.url}/v1`, models: ['only-limited'] });
  p.fallback = (x) => x.answer(429, { error: { message: 'slow down', type: 'rate_limit_error', param: null, code: 'rate_limit_exceeded' } });
  await assert.rejects(openai.chat.completions.create({ model: 'only-limited', messages: [] }), (e) => e instanceof OpenAI.RateLimitError && /slow down/.test(e.message));
  await p.stop();
});

test('openai, anthropic: 502 raises InternalServerError', async () => {
  const p = await Provider.start();
  await p.stop();
  await s.addChannel({ name: 'dead-o', url: `${p.url}/v1`, models: ['dead-model'] });
  await s.addChannel({ name: 'dead-a', type: 'anthropic', url: p.url, models: ['dead-claude'] });
  await assert.rejects(openai.chat.completions.create({ model: 'dead-model', messages: [] }), (e) => e instanceof OpenAI.InternalServerError && e.status === 502 && e.code === 'upstream_unreachable');
  await assert.rejects(anthropic.messages.create({ model: 'dead-claude', max_tokens: 1, messages: [{ role: 'user', content: 'x' }] }), (e) => e instanceof Anthropic.InternalServerError && e.status === 502);
});

test('anthropic: 401, 403 and 404 raise its own classes with its own types', async () => {
  const a = new Anthropic({ apiKey: 'sk-wrong', baseURL: s.url, maxRetries: 0 });
  const ask = { model: ANTHROPIC_MODELS[0], max_tokens: 1, messages: [{ role: 'user', content: 'x' }] };
  await assert.rejects(a.messages.create(ask), (e) => e instanceof Anthropic.AuthenticationError && e.error.error.type === 'authentication_error');
  await assert.rejects(anthropic.messages.create({ ...ask, model: 'no-such' }), (e) => e instanceof Anthropic.NotFoundError && e.error.error.type === 'not_found_error');
  const key = await s.addKey('limited-a', ['--unlimited']);
  await s.sql("UPDATE api_keys SET model_limits_enabled = 1, model_limits = 'gpt-4o' WHERE name = 'limited-a'");
  const l = new Anthropic({ apiKey: key, baseURL: s.url, maxRetries: 0 });
  await assert.rejects(l.messages.create(ask), (e) => e instanceof Anthropic.PermissionDeniedError && e.error.error.type === 'permission_error');
});

test('gemini: errors raise ApiError with the status', async () => {
  const g = new GoogleGenAI({ apiKey: 'sk-wrong', httpOptions: { baseUrl: s.url } });
  await assert.rejects(g.models.generateContent({ model: GEMINI_MODELS[0], contents: 'x' }), (e) => e.status === 401);
  await assert.rejects(gemini.models.generateContent({ model: 'no-such', contents: 'x' }), (e) => e.status === 404);
});

test('openai: aborting a stream frees the provider', async () => {
  const c = s.provider.play((x) => chatStream(x, { n: 1000, gap: 10 }));
  const st = await openai.chat.completions.create({ model: 'gpt-4o-mini', stream: true, messages: say(c) });
  for await (const _ of st) break;
  st.controller.abort();
  const left = await Promise.race([c.seen[0].closed.then(() => true), sleep(3000, false)]);
  assert.ok(left, 'the provider still streams');
});

// Test keys and the built-in provider, through the official SDKs.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import Anthropic from '@anthropic-ai/sdk';
import { GoogleGenAI } from '@google/genai';
import OpenAI from 'openai';
import { ANTHROPIC_MODELS, GEMINI_MODELS, Stack } from './lib/stack.mjs';

const GPT = 'gpt-4o-mini', CLAUDE = ANTHROPIC_MODELS[0], GEMINI = GEMINI_MODELS[0];
const say = (text) => [{ role: 'user', content: text }];
const parameters = {
  type: 'object', required: ['city', 'days'],
  properties: { city: { type: 'string' }, days: { type: 'integer', minimum: 3 } },
};
const wanted = { city: 'sandbox', days: 3 };

let s, openai, anthropic, gemini;
before(async () => {
  s = await Stack.start();
  openai = new OpenAI({ apiKey: s.testKey, baseURL: `${s.url}/v1`, maxRetries: 0 });
  anthropic = new Anthropic({ apiKey: s.testKey, baseURL: s.url, maxRetries: 0 });
  gemini = new GoogleGenAI({ apiKey: s.testKey, httpOptions: { baseUrl: s.url } });
});
after(() => s?.stop());

test('openai: an answer, a stream, a tool call', async () => {
  const whole = await openai.chat.completions.create({ model: GPT, messages: say('hi') });
  assert.equal(whole.choices[0].message.content, 'You said: hi');
  let text = '';
  for await (const c of await openai.chat.completions.create({ model: GPT, messages: say('héllo 世界'), stream: true }))
    text += c.choices[0]?.delta?.content ?? '';
  assert.equal(text, 'You said: héllo 世界');
  const tools = [{ type: 'function', function: { name: 'weather', parameters } }];
  const call = await openai.chat.completions.stream({ model: GPT, messages: say('call the tool'), tools }).finalChatCompletion();
  assert.deepEqual(JSON.parse(call.choices[0].message.tool_calls[0].function.arguments), wanted);
});

test('openai: responses, whole and in events', async () => {
  assert.equal((await openai.responses.create({ model: GPT, input: 'hi' })).output_text, 'You said: hi');
  const done = await openai.responses.stream({ model: GPT, input: 'hi you' }).finalResponse();
  assert.equal(done.output_text, 'You said: hi you');
});

test('anthropic: an answer, a stream, a tool call', async () => {
  const whole = await anthropic.messages.create({ model: CLAUDE, max_tokens: 50, messages: say('hi') });
  assert.equal(whole.content[0].text, 'You said: hi');
  const done = await anthropic.messages.stream({ model: CLAUDE, max_tokens: 50, messages: say('hi you') }).finalMessage();
  assert.equal(done.content[0].text, 'You said: hi you');
  const tools = [{ name: 'weather', input_schema: parameters }];
  const call = await anthropic.messages.stream({ model: CLAUDE, max_tokens: 50, messages: say('call the tool'), tools }).finalMessage();
  assert.deepEqual(call.content[0].input, wanted);
});

test('gemini: an answer, a stream, an embedding', async () => {
  assert.equal((await gemini.models.generateContent({ model: GEMINI, contents: 'hi' })).text, 'You said: hi');
  let text = '';
  for await (const c of await gemini.models.generateContentStream({ model: GEMINI, contents: 'hi you' })) text += c.text;
  assert.equal(text, 'You said: hi you');
  const e = await gemini.models.embedContent({ model: GEMINI, contents: 'x', config: { outputDimensionality: 8 } });
  assert.equal(e.embeddings[0].values.length, 8);
});

test('a status that was asked for raises the class each SDK has for it', async () => {
  const chat = (code) => openai.chat.completions.create({ model: GPT, messages: say(`sandbox:status=${code}`) });
  await assert.rejects(chat(400), OpenAI.BadRequestError);
  await assert.rejects(chat(429), OpenAI.RateLimitError);
  await assert.rejects(anthropic.messages.create({ model: CLAUDE, max_tokens: 5, messages: say('sandbox:status=400') }),
    (e) => e instanceof Anthropic.BadRequestError && e.error.error.type === 'invalid_request_error');
  await assert.rejects(gemini.models.generateContent({ model: GEMINI, contents: 'sandbox:status=400' }),
    (e) => e.status === 400 && /INVALID_ARGUMENT/.test(e.message));
});

test('a stream that breaks off raises instead of ending', async () => {
  const text = 'sandbox:cut sandbox:words=100';
  const read = async (stream) => { for await (const c of await stream) assert.ok(c); };
  await assert.rejects(read(openai.chat.completions.create({ model: GPT, messages: say(text), stream: true })), OpenAI.APIError);
  await assert.rejects(read(openai.responses.create({ model: GPT, input: text, stream: true })), OpenAI.APIError);
  await assert.rejects(anthropic.messages.stream({ model: CLAUDE, max_tokens: 500, messages: say(text) }).finalMessage());
});

test('nothing of it reaches a real provider', () => {
  assert.equal(s.provider.seen.length, 0);
});

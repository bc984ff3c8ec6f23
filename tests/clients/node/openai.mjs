// The official Node SDK against the gateway at BASE_URL.
import { createHash } from "node:crypto";
import OpenAI, { toFile } from "openai";
import { z } from "zod";
import { zodResponseFormat } from "openai/helpers/zod";
import { report, seconds } from "./report.mjs";

const client = new OpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY, maxRetries: 0 });
const messages = [{ role: "user", content: "What is the weather in Rome?" }];
const parameters = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };
const tools = [{ type: "function", function: { name: "get_weather", parameters } }];
const sha256 = (bytes) => createHash("sha256").update(bytes).digest("hex");

async function refused(work) {
  try {
    await work();
  } catch (error) {
    const { status = null, code = null, type = null, param = null } = error;
    return { class: error.constructor.name, status, code, type, param, requestId: error.requestID ?? null };
  }
  throw new Error("it was not refused");
}

async function collected(stream) {
  const parts = [];
  for await (const part of stream) parts.push(part);
  return parts;
}

await report({
  async chat() {
    const answer = await client.chat.completions.create({ model: "demo", messages });
    return { text: answer.choices[0].message.content, usage: answer.usage, requestId: answer._request_id };
  },

  async alias() {
    const answer = await client.chat.completions.create({ model: "alias", messages });
    return { text: answer.choices[0].message.content };
  },

  async stream() {
    const asked = { model: "demo", messages, stream: true, stream_options: { include_usage: true } };
    const parts = await collected(await client.chat.completions.create(asked));
    return {
      texts: parts.map((part) => part.choices[0]?.delta.content).filter(Boolean),
      usage: parts.at(-1).usage,
    };
  },

  async stream_without_usage() {
    const parts = await collected(await client.chat.completions.create({ model: "m-stream", messages, stream: true }));
    return {
      text: parts.map((part) => part.choices[0].delta.content).join(""),
      usages: parts.filter((part) => part.usage).length,
    };
  },

  async broken_stream() {
    const stream = await client.chat.completions.create({ model: "m-broken", messages, stream: true });
    return refused(() => collected(stream));
  },

  async stream_left_early() {
    const stream = await client.chat.completions.create({ model: "m-endless", messages, stream: true });
    for await (const part of stream) return { first: part.choices[0].delta.content };
  },

  async tool_call_streamed() {
    const runner = client.chat.completions.stream({ model: "demo", messages, tools });
    const answer = await runner.finalChatCompletion();
    const { type, function: called } = answer.choices[0].message.tool_calls[0];
    return { type, name: called.name, arguments: called.arguments, finish: answer.choices[0].finish_reason };
  },

  async structured() {
    const city = z.object({ name: z.string(), population: z.number().int() });
    const response_format = zodResponseFormat(city, "city");
    const answer = await client.chat.completions.parse({ model: "demo", messages, response_format });
    return answer.choices[0].message.parsed;
  },

  async responses() {
    const made = await client.responses.create({ model: "demo", input: "Hello there" });
    const kept = await client.responses.retrieve(made.id);
    const items = await collected(client.responses.inputItems.list(made.id));
    await client.responses.delete(made.id);
    const gone = await refused(() => client.responses.retrieve(made.id));
    return { text: made.output_text, same: kept.id === made.id, roles: items.map((item) => item.role), gone };
  },

  async responses_stream() {
    const stream = client.responses.stream({ model: "demo", input: "Hello there" });
    const kinds = (await collected(stream)).map((event) => event.type);
    return { kinds, text: (await stream.finalResponse()).output_text };
  },

  async embeddings() {
    const answer = await client.embeddings.create({ model: "demo", input: ["one", "two"] });
    const [first] = answer.data;
    return { sizes: answer.data.map((row) => row.embedding.length), norm: Math.hypot(...first.embedding) };
  },

  async models() {
    const listed = await collected(client.models.list());
    return { ids: listed.map((model) => model.id), one: await client.models.retrieve("demo") };
  },

  async unknown_model() {
    return refused(() => client.chat.completions.create({ model: "nothing-of-this-name", messages }));
  },

  async wrong_key() {
    const stranger = client.withOptions({ apiKey: "wrong" });
    return refused(() => stranger.chat.completions.create({ model: "demo", messages }));
  },

  async unsound_field() {
    return refused(() => client.chat.completions.create({ model: "demo", messages, max_tokens: 0 }));
  },

  async speech() {
    const asked = { model: "tts", voice: "alloy", input: "Hello", response_format: "mp3" };
    const answer = await client.audio.speech.create(asked);
    const bytes = Buffer.from(await answer.arrayBuffer());
    return { type: answer.headers.get("content-type"), size: bytes.length, sha256: sha256(bytes) };
  },

  async upload() {
    const content = Buffer.alloc(300_000, Uint8Array.from({ length: 256 }, (_, index) => index));
    const file = await toFile(content, "na\u00efve \u2603.bin");
    return { id: (await client.files.create({ file, purpose: "batch" })).id, sha256: sha256(content) };
  },

  async retry_after() {
    const patient = client.withOptions({ maxRetries: 2 });
    const [answer, took] = await seconds(() => patient.chat.completions.create({ model: "m-limited", messages }));
    return { text: answer.choices[0].message.content, seconds: took };
  },

  async no_retry() {
    const patient = client.withOptions({ maxRetries: 2 });
    return refused(() => patient.chat.completions.create({ model: "m-final", messages }));
  },

  async timeout() {
    const hasty = client.withOptions({ timeout: 300 });
    const ask = () => hasty.chat.completions.create({ model: "m-slow", messages });
    const [result, took] = await seconds(() => refused(ask));
    return { ...result, seconds: took };
  },

  async left_calls() {
    const answer = await client.chat.completions.create({ model: "m-witness", messages });
    return { text: answer.choices[0].message.content };
  },
});

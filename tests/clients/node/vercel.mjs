// The Vercel AI SDK against the gateway at BASE_URL, in its chat and its (default) responses mode.
import { createOpenAI } from "@ai-sdk/openai";
import { APICallError, embedMany, generateObject, generateText, isStepCount, jsonSchema, streamText, tool } from "ai";
import { z } from "zod";
import { report } from "./report.mjs";

const gateway = createOpenAI({ baseURL: process.env.BASE_URL, apiKey: process.env.API_KEY });
const prompt = "What is the weather in Rome?";
const modes = { chat: (name) => gateway.chat(name), responses: (name) => gateway.responses(name) };
const scenarios = {};

globalThis.AI_SDK_LOG_WARNINGS = false;

function weather(seen, inputSchema) {
  const execute = async ({ city }) => {
    seen.push(city);
    return `sunny in ${city}`;
  };
  return { get_weather: tool({ description: "Tells the weather of a city.", inputSchema, execute }) };
}

const schemas = {
  zod: z.object({ city: z.string() }),
  json: jsonSchema({ type: "object", properties: { city: { type: "string" } }, required: ["city"] }),
};

for (const [mode, model] of Object.entries(modes)) {
  scenarios[`${mode}_text`] = async () => {
    const { text, usage, finishReason } = await generateText({ model: model("demo"), prompt });
    return { text, usage, finishReason };
  };

  scenarios[`${mode}_stream`] = async () => {
    const result = streamText({ model: model("demo"), prompt });
    const pieces = [];
    for await (const piece of result.textStream) pieces.push(piece);
    return { pieces, usage: await result.usage, finishReason: await result.finishReason };
  };

  for (const [kind, schema] of Object.entries(schemas)) {
    scenarios[`${mode}_tool_${kind}`] = async () => {
      const seen = [];
      const asked = { model: model("demo"), prompt, tools: weather(seen, schema), stopWhen: isStepCount(3) };
      const { text, steps } = await generateText(asked);
      return { seen, text, steps: steps.length };
    };
  }

  scenarios[`${mode}_tool_stream`] = async () => {
    const seen = [];
    const tools = weather(seen, schemas.zod);
    const result = streamText({ model: model("demo"), prompt, tools, stopWhen: isStepCount(3) });
    return { seen, text: await result.text };
  };

  scenarios[`${mode}_object`] = async () => {
    const schema = z.object({ name: z.string(), population: z.number().int(), sights: z.array(z.string()) });
    return (await generateObject({ model: model("demo"), schema, prompt })).object;
  };
}

scenarios.embeddings = async () => {
  const { embeddings, usage } = await embedMany({ model: gateway.embedding("demo"), values: ["one", "two"] });
  return { sizes: embeddings.map((row) => row.length), usage };
};

scenarios.alias = async () => ({ text: (await generateText({ model: gateway.chat("alias"), prompt })).text });

scenarios.retried = async () => {
  const { text } = await generateText({ model: gateway.chat("m-limited"), prompt, maxRetries: 1 });
  return { text };
};

scenarios.unknown_model = async () => {
  try {
    await generateText({ model: gateway.chat("nothing-of-this-name"), prompt, maxRetries: 0 });
  } catch (error) {
    const { statusCode, isRetryable, data } = error;
    return { isApiError: APICallError.isInstance(error), statusCode, isRetryable, code: data?.error.code };
  }
};

scenarios.broken_stream = async () => {
  const errors = [];
  const result = streamText({ model: gateway.chat("m-broken"), prompt, onError: ({ error }) => errors.push(error) });
  const pieces = [];
  for await (const piece of result.textStream) pieces.push(piece);
  return { pieces, errors: errors.length, finishReason: await result.finishReason };
};

await report(scenarios);

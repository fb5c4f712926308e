// OpenAI's own client, unmodified, against a Thaw daemon: node openai_client.mjs BASE_URL SCENARIO MODEL
// Prints what happened as one JSON value. Every scenario is a function below.
import { createRequire } from "node:module";

const OpenAI = createRequire(new URL("../../tools/npm/package.json", import.meta.url))("openai");

const [baseURL, scenario, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "any", maxRetries: 0, timeout: 60_000 });
const messages = [{ role: "user", content: "What is the color of my car?" }];
const greedy = { model, temperature: 0, max_tokens: 12 };

// The exception that a call raises, as the client's users see it.
async function raised(call) {
  try {
    await call();
    return null;
  } catch (error) {
    const kinds = Object.entries(OpenAI).filter(([, kind]) => kind?.prototype instanceof Error && error instanceof kind);
    return {
      kinds: kinds.map(([name]) => name).sort(),
      status: error.status,
      type: error.type,
      param: error.param,
      code: error.code,
      message: error.message,
      requestID: error.requestID,
      retryAfter: error.headers?.get?.("retry-after") ?? null,
    };
  }
}

const scenarios = {
  async models() {
    const listed = [];
    for await (const one of client.models.list()) listed.push(one);
    return { listed, one: await client.models.retrieve(model) };
  },

  async chat() {
    const answer = await client.chat.completions.create({ ...greedy, messages });
    return { answer, requestID: answer._request_id };
  },

  async stream() {
    const chunks = [];
    const stream = await client.chat.completions.create({
      ...greedy, messages, stream: true, stream_options: { include_usage: true },
    });
    for await (const chunk of stream) chunks.push(chunk);
    return chunks;
  },

  // The client's helper puts the chunks together, and checks them while it does.
  async helper() {
    const runner = client.chat.completions.stream({ ...greedy, messages });
    return runner.finalChatCompletion();
  },

  async completions() {
    const whole = await client.completions.create({ ...greedy, prompt: "Once upon a time" });
    let streamed = "";
    for await (const chunk of await client.completions.create({ ...greedy, prompt: "Once upon a time", stream: true }))
      streamed += chunk.choices[0]?.text ?? "";
    return { whole, streamed };
  },

  async schema() {
    const schema = {
      type: "object", properties: { red: { type: "boolean" } }, required: ["red"], additionalProperties: false,
    };
    const answer = await client.chat.completions.create({
      ...greedy, messages, max_tokens: 128,
      response_format: { type: "json_schema", json_schema: { name: "car", strict: true, schema } },
    });
    return JSON.parse(answer.choices[0].message.content);
  },

  async responses() {
    const answer = await client.responses.create({ model, input: "Hello", temperature: 0, max_output_tokens: 12 });
    return { status: answer.status, text: answer.output_text };
  },

  // As floats, and in the client's own default encoding (base64).
  async embeddings() {
    const input = ["a red car", "a blue bus"];
    const plain = await client.embeddings.create({ model, input, encoding_format: "float" });
    const packed = await client.embeddings.create({ model, input });
    return [plain, packed].map((answer) => answer.data.map((one) => one.embedding));
  },

  // Leaves a stream after its first piece.
  async abort() {
    const seen = [];
    const stream = await client.chat.completions.create({ model, messages, stream: true });
    for await (const chunk of stream) {
      seen.push(chunk.choices[0].delta.content);
      break;
    }
    return { seen, aborted: stream.controller.signal.aborted };
  },

  async chatError() {
    return raised(() => client.chat.completions.create({ model, messages }));
  },
  async streamError() {
    return raised(async () => {
      for await (const chunk of await client.chat.completions.create({ model, messages, stream: true })) void chunk;
    });
  },
  async modelError() {
    return raised(() => client.models.retrieve(model));
  },
  async noModelError() {
    return raised(() => client.chat.completions.create({ messages }));
  },
  async badRequestError() {
    return raised(() => client.chat.completions.create({ model, messages: "no list" }));
  },
  async pathError(path = model) {
    return raised(() => client.post(path, { body: { model: "kit" } }));
  },
};

console.log(JSON.stringify((await scenarios[scenario]()) ?? null));

// AWS's own client of Lambda, unmodified, against a Thaw daemon: node lambda_client.mjs URL FUNCTION PAYLOAD
// Invokes with a response stream, and prints what came as one JSON value.
import { createRequire } from "node:module";

const require = createRequire(new URL("../../tools/npm-test/package.json", import.meta.url));
const { LambdaClient, InvokeWithResponseStreamCommand } = require("@aws-sdk/client-lambda");

const [endpoint, FunctionName, Payload] = process.argv.slice(2);
const { AWS_ACCESS_KEY_ID = "any", AWS_SECRET_ACCESS_KEY = "thing" } = process.env;
const credentials = { accessKeyId: AWS_ACCESS_KEY_ID, secretAccessKey: AWS_SECRET_ACCESS_KEY };
const client = new LambdaClient({ endpoint, region: "us-east-1", credentials, maxAttempts: 1 });
const answer = await client.send(new InvokeWithResponseStreamCommand({ FunctionName, Payload, LogType: "Tail" }));
let text = "";
let complete;
for await (const event of answer.EventStream) {
  if (event.PayloadChunk) text += Buffer.from(event.PayloadChunk.Payload).toString();
  if (event.InvokeComplete) complete = event.InvokeComplete;
}
const { StatusCode, ExecutedVersion, ResponseStreamContentType } = answer;
console.log(JSON.stringify({ StatusCode, ExecutedVersion, ResponseStreamContentType, text, complete }));

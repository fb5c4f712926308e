// The managed Node.js runtime: runs a Lambda handler against the Runtime API (2018-06-01).
// One keep-alive connection, so that an environment can be frozen while this waits for its next event.

import { existsSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import util from 'node:util';

const API = '/2018-06-01/runtime';
const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(':');
const agent = new http.Agent({ keepAlive: true, maxSockets: 1, timeout: 0 });
const STREAMED = Symbol.for('aws.lambda.runtime.handler.streaming');
let requestId = '';

class Fault extends Error {
  constructor(name, message) {
    super(message);
    this.name = name;
  }
}

function request(method, target, headers = {}) {
  return http.request({ host, port, method, path: API + target, headers, agent });
}

function answerOf(sent) {
  return new Promise((resolve, reject) => {
    sent.on('error', reject);
    sent.on('response', (answer) => {
      const pieces = [];
      answer.on('error', reject);
      answer.on('data', (piece) => pieces.push(piece));
      answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, body: Buffer.concat(pieces) }));
    });
  });
}

function get(target) {
  const sent = request('GET', target);
  sent.end();
  return answerOf(sent);
}

function post(target, body, headers = {}) {
  const bytes = Buffer.from(body);
  const sent = request('POST', target, { 'Content-Type': 'application/json', ...headers, 'Content-Length': bytes.length });
  sent.end(bytes);
  return answerOf(sent);
}

function log(level, stream, values) {
  const time = new Date().toISOString();
  if ((process.env.AWS_LAMBDA_LOG_FORMAT ?? '').toUpperCase() === 'JSON') {
    const message = values.length === 1 && !(values[0] instanceof Error) ? values[0] : util.format(...values);
    let line;
    try {
      line = JSON.stringify({ timestamp: time, level, requestId, message });
    } catch {
      line = JSON.stringify({ timestamp: time, level, requestId, message: util.format(...values) });
    }
    stream.write(`${line}\n`);
  } else {
    stream.write(`${time}\t${requestId || 'undefined'}\t${level}\t${util.format(...values).replaceAll('\n', '\r')}\n`);
  }
}

function patchConsole() {
  const levels = { trace: 'TRACE', debug: 'DEBUG', log: 'INFO', info: 'INFO', warn: 'WARN', error: 'ERROR' };
  for (const [name, level] of Object.entries(levels)) {
    const stream = level === 'WARN' || level === 'ERROR' ? process.stderr : process.stdout;
    console[name] = (...values) => log(level, stream, values);
  }
}

function describe(error) {
  if (error instanceof Error) {
    return { errorType: error.name, errorMessage: error.message, trace: (error.stack ?? '').split('\n') };
  }
  return { errorType: typeof error, errorMessage: String(error), trace: [] };
}

async function report(target, error, label) {
  const document = describe(error);
  console.error(`${label}\t${JSON.stringify(document)}`);
  await post(target, JSON.stringify(document), { 'Lambda-Runtime-Function-Error-Type': document.errorType });
}

function streams() {
  globalThis.awslambda = {
    streamifyResponse(handler) {
      handler[STREAMED] = true;
      return handler;
    },
    HttpResponseStream: {
      // The prelude: what the HTTP answer begins with, and eight zero bytes before its body.
      from(stream, prelude) {
        stream.setContentType('application/vnd.awslambda.http-integration-response');
        stream.write(JSON.stringify(prelude));
        stream.write(Buffer.alloc(8));
        return stream;
      },
    },
  };
}

function isMissing(error, file) {
  return error.code === 'MODULE_NOT_FOUND' && error.message.includes(file);
}

async function importModule(file) {
  for (const extension of ['.js', '.mjs', '.cjs']) {
    if (!existsSync(file + extension)) continue;
    if (extension === '.mjs') return import(pathToFileURL(file + extension).href);
    try {
      return createRequire(import.meta.url)(file + extension);
    } catch (error) {
      if (error.code !== 'ERR_REQUIRE_ESM' && !(error instanceof SyntaxError)) throw error;
      return import(pathToFileURL(file + extension).href);
    }
  }
  return createRequire(import.meta.url)(file);
}

async function loadHandler(name) {
  const match = /^(.*\/)?([^/.]+)\.(.+)$/.exec(name);
  if (!match) throw new Fault('Runtime.MalformedHandlerName', 'Bad handler');
  const moduleName = (match[1] ?? '') + match[2];
  const file = path.resolve(process.env.LAMBDA_TASK_ROOT ?? '.', moduleName);
  let loaded;
  try {
    loaded = await importModule(file);
  } catch (error) {
    if (error instanceof SyntaxError) throw new Fault('Runtime.UserCodeSyntaxError', `SyntaxError: ${error.message}`);
    if (isMissing(error, file)) throw new Fault('Runtime.ImportModuleError', `Error: Cannot find module '${moduleName}'`);
    if (error.code === 'MODULE_NOT_FOUND' || error.code === 'ERR_MODULE_NOT_FOUND') {
      throw new Fault('Runtime.ImportModuleError', `Error: ${error.message}`);
    }
    throw error;
  }
  const find = (from) => match[3].split('.').reduce((value, key) => value?.[key], from);
  const handler = find(loaded) ?? find(loaded.default);
  if (handler === undefined) throw new Fault('Runtime.HandlerNotFound', `${name} is undefined or not exported`);
  if (typeof handler !== 'function') throw new Fault('Runtime.HandlerNotFound', `${name} is not a function`);
  return handler;
}

function contextOf(headers, finish) {
  const env = process.env;
  const parse = (name) => (headers[name] ? JSON.parse(headers[name]) : undefined);
  const deadline = Number(headers['lambda-runtime-deadline-ms'] ?? 0);
  return {
    callbackWaitsForEmptyEventLoop: true,
    functionName: env.AWS_LAMBDA_FUNCTION_NAME,
    functionVersion: env.AWS_LAMBDA_FUNCTION_VERSION,
    memoryLimitInMB: env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
    logGroupName: env.AWS_LAMBDA_LOG_GROUP_NAME,
    logStreamName: env.AWS_LAMBDA_LOG_STREAM_NAME,
    awsRequestId: headers['lambda-runtime-aws-request-id'],
    invokedFunctionArn: headers['lambda-runtime-invoked-function-arn'],
    clientContext: parse('lambda-runtime-client-context'),
    identity: parse('lambda-runtime-cognito-identity'),
    getRemainingTimeInMillis: () => Math.max(deadline - Date.now(), 0),
    done: finish,
    succeed: (value) => finish(null, value),
    fail: (error) => finish(error ?? new Error('handled')),
  };
}

// A result comes from the promise that the handler returns, or from its callback. A callback's result waits until nothing
// is left to do, unless the handler says that it does not.
function call(handler, event, headers) {
  return new Promise((resolve, reject) => {
    const finish = (error, value) => (error === null || error === undefined ? resolve(value) : reject(error));
    const context = contextOf(headers, finish);
    const callback = (error, value) => {
      if (!context.callbackWaitsForEmptyEventLoop) finish(error, value);
      else process.once('beforeExit', () => finish(error, value));
    };
    const idle = () => resolve(undefined);
    const result = handler(event, context, callback);
    if (typeof result?.then === 'function') result.then(resolve, reject);
    if (handler.length < 3) process.once('beforeExit', idle);
  });
}

async function stream(handler, event, headers) {
  const id = headers['lambda-runtime-aws-request-id'];
  const sent = request('POST', `/invocation/${id}/response`, {
    'Content-Type': 'application/octet-stream',
    'Lambda-Runtime-Function-Response-Mode': 'streaming',
    'Transfer-Encoding': 'chunked',
    Trailer: 'Lambda-Runtime-Function-Error-Type, Lambda-Runtime-Function-Error-Body',
  });
  const answer = answerOf(sent);
  sent.setContentType = (type) => sent.headersSent || sent.setHeader('Content-Type', type);
  try {
    await handler(event, sent, contextOf(headers, () => {}));
  } catch (error) {
    const document = describe(error);
    console.error(`Invoke Error\t${JSON.stringify(document)}`);
    sent.addTrailers({
      'Lambda-Runtime-Function-Error-Type': document.errorType,
      'Lambda-Runtime-Function-Error-Body': Buffer.from(JSON.stringify(document)).toString('base64'),
    });
  }
  if (!sent.writableEnded) sent.end();
  await answer;
}

async function handle(handler, { headers, body }) {
  requestId = headers['lambda-runtime-aws-request-id'];
  process.env._X_AMZN_TRACE_ID = headers['lambda-runtime-trace-id'] ?? '';
  let text;
  try {
    const event = JSON.parse(body.toString());
    if (handler[STREAMED]) return await stream(handler, event, headers);
    text = JSON.stringify((await call(handler, event, headers)) ?? null) ?? 'null';
  } catch (error) {
    return report(`/invocation/${requestId}/error`, error, 'Invoke Error');
  } finally {
    process.removeAllListeners('beforeExit');
  }
  return post(`/invocation/${requestId}/response`, text);
}

function watchForCrashes() {
  const crash = (name, label) => async (error) => {
    const fault = name ? new Fault(name, String(error?.stack ?? error)) : error;
    await report(requestId ? `/invocation/${requestId}/error` : '/init/error', fault, label);
    process.exit(129);
  };
  process.on('uncaughtException', crash('', 'Uncaught Exception'));
  process.on('unhandledRejection', crash('Runtime.UnhandledPromiseRejection', 'Unhandled Promise Rejection'));
}

function tellVersion() {
  const asked = (process.env.AWS_EXECUTION_ENV ?? '').replace('AWS_Lambda_', '');
  const here = `nodejs${process.versions.node.split('.')[0]}.x`;
  if (asked && asked !== here) process.stdout.write(`the machine has no ${asked}: this runs on ${here}\n`);
}

async function main() {
  tellVersion();
  patchConsole();
  streams();
  watchForCrashes();
  let handler;
  try {
    handler = await loadHandler(process.env._HANDLER ?? '');
  } catch (error) {
    await report('/init/error', error, 'Uncaught Exception');
    process.exit(1);
  }
  if (process.env.AWS_LAMBDA_INITIALIZATION_TYPE === 'snap-start') await get('/restore/next');
  for (;;) {
    const next = await get('/invocation/next');
    if (next.status !== 200) throw new Error(`the Runtime API answered ${next.status}: ${next.body}`);
    await handle(handler, next);
    requestId = '';
  }
}

main();

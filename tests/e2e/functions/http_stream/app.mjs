// Streams its answer to an HTTP request; the path says how.
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

export const handler = awslambda.streamifyResponse(async (event, stream) => {
  const metadata = {
    statusCode: 201,
    headers: { 'Content-Type': 'text/plain; charset=utf-8', 'X-Path': event.rawPath },
    cookies: ['a=1', 'b=2'],
  };
  if (event.rawPath === '/plain') {
    stream.setContentType('text/html');
    stream.end('<p>plain');
    return;
  }
  if (event.rawPath === '/no-prelude') {
    stream.setContentType('application/vnd.awslambda.http-integration-response');
    stream.end('this is no prelude');
    return;
  }
  if (event.rawPath === '/large') {
    const out = awslambda.HttpResponseStream.from(stream, metadata);
    for (let n = 0; n < 200; ++n) {
      if (!out.write('x'.repeat(65536))) await new Promise((resolve) => out.once('drain', resolve));
    }
    out.end();
    return;
  }
  const out = awslambda.HttpResponseStream.from(stream, metadata);
  if (event.rawPath === '/wait') {
    out.write('first ');
    // The second piece is not made before the first has arrived: the test waits for it.
    await pause(1500);
    out.write('second');
    out.end();
    return;
  }
  out.write('part');
  if (event.rawPath === '/throw') {
    await pause(200);
    throw new Error('in the midst');
  }
  out.end();
});

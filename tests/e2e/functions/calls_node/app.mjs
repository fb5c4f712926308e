// POST /ask {"path"}: what fetch() gets there, at THAW_URL, and how often it has been asked before.
import http from "node:http";

let asked = 0;

http
  .createServer((request, response) => {
    let body = "";
    request.on("data", (piece) => (body += piece));
    request.on("end", async () => {
      let answer = "here";
      if (request.url === "/ask") {
        try {
          const came = await fetch(process.env.THAW_URL + JSON.parse(body).path);
          answer = { status: came.status, body: await came.text(), asked: ++asked };
        } catch (error) {
          answer = { error: String(error.cause ?? error) };
        }
      }
      response.setHeader("Content-Type", "application/json");
      response.end(JSON.stringify(answer));
    });
  })
  .listen(Number(process.env.PORT), "127.0.0.1");

"""A FastAPI app as it is deployed to AWS Lambda behind API Gateway's stage prod; Mangum is part of the package."""

from fastapi import FastAPI, Request, Response
from mangum import Mangum
from pydantic import BaseModel

app = FastAPI(title="Question answering", root_path="/prod")


class Text(BaseModel):
    text: str


@app.get("/")
def root():
    return {"message": "hello world"}


@app.get("/question")
def question(question: str, context: str):
    words = [word for word in context.rstrip(".").split() if word not in question]
    return {"answer": words[-1], "question": question}


@app.post("/shout", status_code=201)
def shout(body: Text):
    return {"text": body.text.upper()}


@app.post("/bytes")
async def mirrored(request: Request):
    return Response((await request.body())[::-1], media_type="application/octet-stream")


@app.get("/cookies")
def cookies(request: Request, response: Response):
    response.set_cookie("first", "1")
    response.set_cookie("second", "2")
    return request.cookies


lambda_handler = Mangum(app, lifespan="off")

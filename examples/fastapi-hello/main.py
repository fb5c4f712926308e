"""An ordinary FastAPI app; one line of it is for snapshots."""

import asyncio
import json
import pathlib
import time
from typing import Optional

from fastapi import FastAPI, HTTPException
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import StreamingResponse
from fastapi.staticfiles import StaticFiles
from pydantic import BaseModel, Field

import thaw_runtime

# FastAPI's /docs is a page that loads Swagger UI from a CDN, and stays blank in a browser without a network. Where
# ./get-swagger-ui has put Swagger UI into static/, the app serves it itself, the way FastAPI's documentation shows
# ("Custom Docs UI Static Assets"); else /docs is FastAPI's own.
STATIC = pathlib.Path(__file__).parent / "static"
own_docs = STATIC.is_dir()

app = FastAPI(title="fastapi-hello", version="1.0.0", docs_url=None if own_docs else "/docs")
# Clones of a snapshot get random seeds of their own (thaw.toml names the paths of the hooks).
app.add_middleware(thaw_runtime.Asgi)

if own_docs:
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    @app.get("/docs", include_in_schema=False)
    def docs():
        return get_swagger_ui_html(
            openapi_url=app.openapi_url,
            title=app.title,
            swagger_js_url="/static/swagger-ui-bundle.js",
            swagger_css_url="/static/swagger-ui.css",
            swagger_favicon_url="/static/favicon-32x32.png",
        )


class Order(BaseModel):
    item: str = Field(min_length=1, max_length=100)
    count: int = Field(default=1, ge=1, le=1000)
    price: float = Field(gt=0)
    note: Optional[str] = None


class Receipt(BaseModel):
    item: str
    total: float


@app.get("/")
def hello():
    return {"message": "Hello from FastAPI!"}


@app.get("/squares/{number}")
def square(number: int, times: int = 1):
    """The number times itself, and that so many times."""
    if not 1 <= times <= 10:
        raise HTTPException(status_code=400, detail="times must be from 1 to 10")
    return {"number": number, "result": number ** (times + 1)}


@app.post("/orders", response_model=Receipt, status_code=201)
def order(wanted: Order):
    return Receipt(item=wanted.item, total=round(wanted.count * wanted.price, 2))


@app.get("/events")
async def events(count: int = 5, every_ms: int = 500):
    """Server-sent events, each as it is made."""

    async def produce():
        for number in range(count):
            if number:
                await asyncio.sleep(every_ms / 1000)
            yield f"data: {json.dumps({'number': number, 'time': time.time()})}\n\n"

    return StreamingResponse(produce(), media_type="text/event-stream")

#include <fmt/format.h>

#include <boost/json/serialize.hpp>

#include "onnx/api_json.h"
#include "onnx/question_api.h"

namespace thaw::onnx {
namespace {

// @NAME@ stands for a limit of this build or model.
constexpr std::string_view kTemplate = R"JSON({
  "openapi": "3.1.0",
  "info": {
    "title": "thaw-onnx",
    "summary": "Extractive question answering",
    "description": "Finds the span of a context that answers a question. Results are those of Hugging Face's question-answering pipeline. Positions count Unicode code points of the context.",
    "version": "1.0.0",
    "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
    "x-model": @MODEL@
  },
  "servers": [{"url": "./"}],
  "paths": {
    "/": {
      "get": {
        "operationId": "hello", "summary": "Says hello: the model, the task, and where to go",
        "responses": {"200": {"description": "Hello", "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Hello"}}}}}
      }
    },
    "/question": {
      "get": {
        "operationId": "askByQuery", "summary": "Answers a question about a context",
        "parameters": [
          {"name": "question", "in": "query", "required": true, "schema": {"$ref": "#/components/schemas/Ask/properties/question"}, "example": "What is the color of my car now?"},
          {"name": "context", "in": "query", "required": true, "schema": {"$ref": "#/components/schemas/Ask/properties/context"}, "example": "My car used to be blue but I painted red"},
          {"name": "top_k", "in": "query", "schema": {"$ref": "#/components/schemas/Ask/properties/top_k"}},
          {"name": "max_answer_len", "in": "query", "schema": {"$ref": "#/components/schemas/Ask/properties/max_answer_len"}},
          {"name": "max_seq_len", "in": "query", "schema": {"$ref": "#/components/schemas/Ask/properties/max_seq_len"}},
          {"name": "doc_stride", "in": "query", "schema": {"$ref": "#/components/schemas/Ask/properties/doc_stride"}},
          {"name": "max_question_len", "in": "query", "schema": {"$ref": "#/components/schemas/Ask/properties/max_question_len"}},
          {"name": "handle_impossible_answer", "in": "query", "schema": {"$ref": "#/components/schemas/Ask/properties/handle_impossible_answer"}},
          {"name": "align_to_words", "in": "query", "schema": {"$ref": "#/components/schemas/Ask/properties/align_to_words"}}
        ],
        "responses": {
          "200": {"$ref": "#/components/responses/Answered"},
          "400": {"$ref": "#/components/responses/BadRequest"},
          "413": {"$ref": "#/components/responses/TooLarge"},
          "429": {"$ref": "#/components/responses/Overloaded"},
          "500": {"$ref": "#/components/responses/Failed"}
        }
      },
      "post": {
        "operationId": "ask", "summary": "Answers a question about a context",
        "requestBody": {
          "required": true,
          "description": "At most @BODY_MAX@ bytes of JSON in UTF-8.",
          "content": {"application/json": {
            "schema": {"$ref": "#/components/schemas/Ask"},
            "example": {"question": "What is the color of my car now?", "context": "My car used to be blue but I painted red"}
          }}
        },
        "responses": {
          "200": {"$ref": "#/components/responses/Answered"},
          "400": {"$ref": "#/components/responses/BadRequest"},
          "413": {"$ref": "#/components/responses/TooLarge"},
          "429": {"$ref": "#/components/responses/Overloaded"},
          "500": {"$ref": "#/components/responses/Failed"}
        }
      }
    },
    "/warm-up": {
      "post": {
        "operationId": "warmUp", "summary": "Runs the model once on a sample of its own, as before a snapshot",
        "responses": {"200": {"description": "What the model makes of the sample", "content": {"application/json": {"schema": {}}}}}
      }
    },
    "/healthz": {
      "get": {
        "operationId": "health", "summary": "Answers once the model is loaded",
        "responses": {"200": {"description": "Ready", "content": {"application/json": {"schema": {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}}}}}}
      }
    },
    "/openapi.json": {
      "get": {"operationId": "openapi", "summary": "This document", "responses": {"200": {"description": "OpenAPI 3.1", "content": {"application/json": {"schema": {"type": "object"}}}}}}
    }
  },
  "components": {
    "responses": {
      "Answered": {
        "description": "The answer; for top_k greater than 1 an array, best first. A context without any word has the answer \"\" with score 0.",
        "content": {"application/json": {
          "schema": {"oneOf": [{"$ref": "#/components/schemas/Answer"}, {"type": "array", "maxItems": @TOP_K_MAX@, "items": {"$ref": "#/components/schemas/Answer"}}]},
          "example": {"score": 0.97, "start": 37, "end": 40, "answer": "red"}
        }}
      },
      "BadRequest": {
        "description": "A parameter is missing, unknown, ill-formed or out of range",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}, "example": {"kind": "InvalidArgument", "message": "question: is missing", "field": "question"}}}
      },
      "TooLarge": {
        "description": "The body is larger than @BODY_MAX@ bytes, or the context makes more than @WINDOWS_MAX@ windows",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
      },
      "Overloaded": {
        "description": "Too many questions are waiting; try again later",
        "headers": {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
      },
      "Failed": {
        "description": "The model failed on these values",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
      }
    },
    "schemas": {
      "Ask": {
        "type": "object", "required": ["question", "context"], "additionalProperties": false,
        "properties": {
          "question": {"type": "string", "minLength": 1, "description": "The question"},
          "context": {"type": "string", "minLength": 1, "description": "The text that holds the answer; a long one is read in overlapping windows"},
          "top_k": {"type": "integer", "minimum": 1, "maximum": @TOP_K_MAX@, "default": 1, "description": "How many answers to return"},
          "max_answer_len": {"type": "integer", "minimum": 1, "maximum": @ANSWER_MAX@, "default": 15, "description": "The most tokens of an answer"},
          "max_seq_len": {"type": "integer", "minimum": 1, "maximum": @SEQUENCE_MAX@, "description": "Tokens of a window, question included; 384 or what the model takes when absent"},
          "doc_stride": {"type": "integer", "minimum": 0, "maximum": @SEQUENCE_MAX@, "description": "Tokens that neighbouring windows share; the smaller of 128 and half of max_seq_len when absent"},
          "max_question_len": {"type": "integer", "minimum": 1, "maximum": 8192, "description": "Cuts the question to so many tokens; not cut when absent"},
          "handle_impossible_answer": {"type": "boolean", "default": false, "description": "Whether an empty answer competes"},
          "align_to_words": {"type": "boolean", "default": true, "description": "Whether answers are widened to whole words"}
        }
      },
      "Answer": {
        "type": "object", "required": ["score", "start", "end", "answer"],
        "properties": {
          "score": {"type": "number", "minimum": 0, "description": "The probability; windows and places with the same answer add theirs"},
          "start": {"type": "integer", "minimum": 0, "description": "First code point of the answer in the context"},
          "end": {"type": "integer", "minimum": 0, "description": "The code point behind the answer"},
          "answer": {"type": "string"}
        }
      },
      "Error": {
        "type": "object", "required": ["kind", "message"],
        "properties": {
          "kind": {"type": "string", "examples": ["InvalidArgument", "TooLarge", "Overloaded", "NotFound", "Internal"]},
          "message": {"type": "string"},
          "field": {"type": "string", "description": "The parameter that the message is about"}
        }
      },
      "Hello": {
        "type": "object",
        "properties": {
          "name": {"type": "string"}, "message": {"type": "string"}, "model": {"type": "string"}, "architecture": {"type": "string"},
          "task": {"const": "question-answering"},
          "links": {"type": "object", "additionalProperties": {"type": "string"}}
        }
      }
    }
  }
}
)JSON";

}  // namespace

std::string openapi_json(std::string_view model_name, std::size_t sequence_max) {
  std::string out(kTemplate);
  replace_all(out, "@BODY_MAX@", std::to_string(kBodyBytesMax));
  replace_all(out, "@WINDOWS_MAX@", std::to_string(kWindowsMax));
  replace_all(out, "@TOP_K_MAX@", std::to_string(kTopKMax));
  replace_all(out, "@ANSWER_MAX@", std::to_string(kAnswerTokensMax));
  replace_all(out, "@SEQUENCE_MAX@", std::to_string(sequence_max));
  replace_all(out, "@MODEL@", boost::json::serialize(boost::json::string_view(model_name.data(), model_name.size())));
  return out;
}

}  // namespace thaw::onnx

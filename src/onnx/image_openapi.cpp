#include <boost/json/serialize.hpp>

#include "onnx/api_json.h"
#include "onnx/image_api.h"

namespace thaw::onnx {
namespace {

// @NAME@ stands for a limit of this build or model.
constexpr std::string_view kTemplate = R"JSON({
  "openapi": "3.1.0",
  "info": {
    "title": "thaw-onnx",
    "summary": "Image classification",
    "description": "Says what a photo shows. Results are those of Hugging Face's image-classification pipeline. The photo is turned upright by its EXIF orientation; colour profiles are not applied.",
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
      },
      "post": {
        "operationId": "classify", "summary": "Says what a photo shows",
        "parameters": [
          {"name": "top_k", "in": "query", "description": "With a photo as the body; JSON carries it in itself", "schema": {"$ref": "#/components/schemas/Parameters/properties/top_k"}},
          {"name": "function_to_apply", "in": "query", "description": "With a photo as the body; JSON carries it in itself", "schema": {"$ref": "#/components/schemas/Parameters/properties/function_to_apply"}}
        ],
        "requestBody": {
          "required": true,
          "description": "A photo of at most @PHOTO_MAX@ bytes and @PIXELS_MAX@ pixels: JPEG, PNG or WebP, whichever the bytes are; or JSON that holds one.",
          "content": {
            "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "image/webp": {"schema": {"type": "string", "format": "binary"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
            "application/json": {"schema": {"$ref": "#/components/schemas/Classify"}}
          }
        },
        "responses": {
          "200": {
            "description": "Labels, best first",
            "content": {"application/json": {
              "schema": {"type": "array", "maxItems": @TOP_K_MAX@, "items": {"$ref": "#/components/schemas/Label"}},
              "example": [{"label": "tabby, tabby cat", "score": 0.81}, {"label": "Egyptian cat", "score": 0.07}]
            }}
          },
          "400": {"$ref": "#/components/responses/BadRequest"},
          "413": {"$ref": "#/components/responses/TooLarge"},
          "415": {"$ref": "#/components/responses/WrongType"},
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
      "BadRequest": {
        "description": "A parameter is missing, unknown, ill-formed or out of range; or the picture is none, is cut short or damaged",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}, "example": {"kind": "InvalidArgument", "message": "the picture is cut short: the JPEG ends before its end"}}}
      },
      "TooLarge": {
        "description": "The picture has more bytes or pixels than are possible",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
      },
      "WrongType": {
        "description": "The Content-Type is none of those above",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
      },
      "Overloaded": {
        "description": "Too many requests are waiting; try again later",
        "headers": {"Retry-After": {"description": "Seconds", "schema": {"type": "integer"}}},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
      },
      "Failed": {
        "description": "The model failed on this picture",
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
      }
    },
    "schemas": {
      "Classify": {
        "type": "object", "required": ["inputs"], "additionalProperties": false,
        "properties": {
          "inputs": {"type": "string", "description": "The photo in base64, or as a data URL"},
          "parameters": {"$ref": "#/components/schemas/Parameters"}
        }
      },
      "Parameters": {
        "type": "object", "additionalProperties": false,
        "properties": {
          "top_k": {"type": "integer", "minimum": 1, "maximum": @TOP_K_MAX@, "default": @TOP_K@, "description": "How many labels to return; the model has @LABELS@"},
          "function_to_apply": {"type": "string", "enum": ["softmax", "sigmoid", "none"], "description": "What makes scores of the model's outputs; by the model's configuration when absent"}
        }
      },
      "Label": {
        "type": "object", "required": ["label", "score"],
        "properties": {
          "label": {"type": "string"},
          "score": {"type": "number"}
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
          "task": {"const": "image-classification"},
          "links": {"type": "object", "additionalProperties": {"type": "string"}}
        }
      }
    }
  }
}
)JSON";

}  // namespace

std::string classify_openapi_json(std::string_view model_name, std::size_t label_count) {
  std::string out(kTemplate);
  replace_all(out, "@PHOTO_MAX@", std::to_string(kPhotoBytesMax));
  replace_all(out, "@PIXELS_MAX@", std::to_string(image::DecodeLimits{}.pixels_max));
  replace_all(out, "@TOP_K_MAX@", std::to_string(kLabelsTopKMax));
  replace_all(out, "@TOP_K@", std::to_string(kLabelsTopKDefault));
  replace_all(out, "@LABELS@", std::to_string(label_count));
  std::string name;
  append_json_string(model_name, name);
  replace_all(out, "@MODEL@", name);
  return out;
}

}  // namespace thaw::onnx

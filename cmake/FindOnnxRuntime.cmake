# Finds ONNX Runtime and defines OnnxRuntime::OnnxRuntime.
# A system-wide one is preferred (onnxruntime_cxx_api.h and libonnxruntime on CMake's search paths); else the library of
# npm's onnxruntime-node and the headers of com.github.asus4.onnxruntime, pinned in tools/npm/package-lock.json.
#   OnnxRuntime_LIBRARY        the file that the program is linked with
#   OnnxRuntime_RUNTIME_FILE   what must lie beside the program at run time; empty when the system's loader finds it

set(OnnxRuntime_NPM_DIR ${CMAKE_SOURCE_DIR}/tools/npm/node_modules)
find_path(OnnxRuntime_INCLUDE_DIR onnxruntime_cxx_api.h PATH_SUFFIXES onnxruntime onnxruntime/core/session)
find_library(OnnxRuntime_LIBRARY onnxruntime)
set(OnnxRuntime_RUNTIME_FILE "")

# Half a system-wide installation is none: headers and library must come from one place.
if(NOT OnnxRuntime_INCLUDE_DIR OR NOT OnnxRuntime_LIBRARY OR OnnxRuntime_LIBRARY MATCHES "^${OnnxRuntime_NPM_DIR}/")
  if(CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64)$")
    set(OnnxRuntime_NPM_ARCH arm64)
  else()
    set(OnnxRuntime_NPM_ARCH x64)
  endif()
  unset(OnnxRuntime_INCLUDE_DIR CACHE)
  unset(OnnxRuntime_LIBRARY CACHE)
  file(GLOB OnnxRuntime_NPM_LIBRARY
    ${OnnxRuntime_NPM_DIR}/onnxruntime-node/bin/napi-v*/linux/${OnnxRuntime_NPM_ARCH}/libonnxruntime.so.1)
  # The package carries the same headers in each of its Apple frameworks; they are the same on every system.
  file(GLOB OnnxRuntime_NPM_HEADER
    ${OnnxRuntime_NPM_DIR}/com.github.asus4.onnxruntime/Plugins/iOS~/onnxruntime.xcframework/ios-arm64/*/Headers/onnxruntime_cxx_api.h)
  if(OnnxRuntime_NPM_LIBRARY AND OnnxRuntime_NPM_HEADER)
    list(GET OnnxRuntime_NPM_LIBRARY 0 OnnxRuntime_NPM_LIBRARY)
    list(GET OnnxRuntime_NPM_HEADER 0 OnnxRuntime_NPM_HEADER)
    get_filename_component(OnnxRuntime_NPM_HEADERS ${OnnxRuntime_NPM_HEADER} DIRECTORY)
    set(OnnxRuntime_INCLUDE_DIR ${OnnxRuntime_NPM_HEADERS} CACHE PATH "ONNX Runtime's headers")
    set(OnnxRuntime_LIBRARY ${OnnxRuntime_NPM_LIBRARY} CACHE FILEPATH "ONNX Runtime's library")
    set(OnnxRuntime_RUNTIME_FILE ${OnnxRuntime_NPM_LIBRARY})
  endif()
elseif(NOT OnnxRuntime_LIBRARY MATCHES "^/(usr|lib|lib64)/")
  file(REAL_PATH ${OnnxRuntime_LIBRARY} OnnxRuntime_RUNTIME_FILE)
endif()

if(OnnxRuntime_INCLUDE_DIR AND EXISTS ${OnnxRuntime_INCLUDE_DIR}/onnxruntime_c_api.h)
  file(STRINGS ${OnnxRuntime_INCLUDE_DIR}/onnxruntime_c_api.h OnnxRuntime_API_LINE REGEX "#define ORT_API_VERSION")
  string(REGEX REPLACE "[^0-9]" "" OnnxRuntime_VERSION "${OnnxRuntime_API_LINE}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OnnxRuntime REQUIRED_VARS OnnxRuntime_LIBRARY OnnxRuntime_INCLUDE_DIR
  VERSION_VAR OnnxRuntime_VERSION
  REASON_FAILURE_MESSAGE "run: npm ci --ignore-scripts --prefix tools/npm")

if(OnnxRuntime_FOUND AND NOT TARGET OnnxRuntime::OnnxRuntime)
  add_library(OnnxRuntime::OnnxRuntime SHARED IMPORTED)
  set_target_properties(OnnxRuntime::OnnxRuntime PROPERTIES
    IMPORTED_LOCATION ${OnnxRuntime_LIBRARY}
    IMPORTED_SONAME libonnxruntime.so.1)
  target_include_directories(OnnxRuntime::OnnxRuntime SYSTEM INTERFACE ${OnnxRuntime_INCLUDE_DIR})
endif()

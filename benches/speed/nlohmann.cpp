// Decodes a manifest with nlohmann-json. The bench compiles this file if the header is there.

#include <cstddef>
#include <nlohmann/json.hpp>

extern "C" void *decode(const char *text, size_t len) {
    return new nlohmann::json(nlohmann::json::parse(text, text + len));
}

extern "C" void destroy(void *value) {
    delete static_cast<nlohmann::json *>(value);
}

// Decodes a manifest with jansson. The bench compiles this file if the header is there.

#include <jansson.h>
#include <stddef.h>

void *decode(const char *text, size_t len) {
    return json_loadb(text, len, 0, NULL);
}

void destroy(void *value) {
    json_decref(value);
}

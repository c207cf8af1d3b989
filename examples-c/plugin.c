/* A small plugin, which plugin_host.cpp opens. */

#include <stdio.h>
#include <string.h>

void plugin_start(const char *id, const char *manifest);

void plugin_start(const char *id, const char *manifest) {
    printf("    %s runs with a manifest of %zu bytes\n", id, strlen(manifest));
    fflush(stdout);
}

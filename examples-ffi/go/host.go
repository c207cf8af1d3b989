// The host in Go, with cgo: host DIRECTORY
package main

/*
#cgo pkg-config: manifest_cache
#include <manifest_cache.h>
#include <stdlib.h>
// As cgo exports it: Go has no const.
void goLoader(char *pluginID, mc_load *answer, void *userData);
*/
import "C"

import (
	"fmt"
	"os"
	"unsafe"
)

var root, weather = C.CString(os.Args[1]), C.CString("weather")

func load(pluginID string, answer *C.mc_load) {
	if pluginID == "cursed" {
		panic("the loader raised this")
	}
	C.mc_load_directory(answer, root)
}

// A panic that is recovered above mc_get() skips its clean-up. Later calls for this plugin would
// return MC_TIMEOUT or MC_LOAD_CYCLE. runtime.Goexit skips it too, and cannot be recovered here.
//
//export goLoader
func goLoader(pluginID *C.char, answer *C.mc_load, _ unsafe.Pointer) {
	defer func() {
		if reason := recover(); reason != nil {
			message := C.CString(fmt.Sprint(reason))
			defer C.free(unsafe.Pointer(message))
			C.mc_load_fail(answer, 0, message)
		}
	}()
	load(C.GoString(pluginID), answer)
}

func show(cache *C.mc_cache, what, pluginID string, loader C.mc_loader) {
	id := C.CString(pluginID) // a NUL in the id would end it
	defer C.free(unsafe.Pointer(id))
	var failure C.mc_error
	// C must not keep a Go pointer. If a loader needs one, pass a cgo.Handle instead of this nil.
	if manifest := C.mc_get(cache, id, loader, nil, &failure); manifest != nil {
		defer C.mc_string_free(manifest)
		text := C.GoStringN(manifest, C.int(C.mc_string_len(manifest)))
		fmt.Printf("%s %s: %d bytes %s\n", what, pluginID, len(text), text)
	} else {
		fmt.Printf("%s %s: status %d at %d:%d %s\n", what, pluginID,
			failure.status, failure.line, failure.column, C.GoString(&failure.message[0]))
	}
}

func main() {
	plugins, err := os.ReadDir(os.Args[1])
	if err != nil {
		panic(err)
	}
	cache, loader := C.mc_new(C.MC_TTL_DEFAULT), C.mc_loader(C.goLoader)
	defer C.mc_free(cache)
	for _, plugin := range plugins {
		if plugin.Name()[0] != '.' {
			show(cache, "load", plugin.Name(), loader)
		}
	}
	show(cache, "hit", "weather", loader)
	C.mc_clear(cache, weather)
	show(cache, "miss", "weather", nil)
	show(cache, "not found", "absent", loader)
	show(cache, "raise", "cursed", loader)
	show(cache, "raise again", "cursed", loader)
	names := []string{"entries", "hits", "misses", "loads", "failures", "not found"}
	for i, which := range []C.int32_t{C.MC_STAT_TOTAL_ENTRIES, C.MC_STAT_HITS, C.MC_STAT_MISSES,
		C.MC_STAT_LOADS, C.MC_STAT_LOAD_FAILURES, C.MC_STAT_NOT_FOUND} {
		fmt.Printf("%s: %d\n", names[i], C.mc_stat(cache, which))
	}
}

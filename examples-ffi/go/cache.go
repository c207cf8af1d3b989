package main

/*
#cgo pkg-config: manifest_cache
#include <manifest_cache.h>
#include <stdlib.h>
// As cgo exports it: Go has no const.
void goDone(char *manifest, mc_error *failure, void *id);
*/
import "C"

import (
	"fmt"
	"sync"
	"unsafe"
)

type loader func(pluginID string, answer *C.mc_load) error

type outcome struct {
	manifest *C.char
	failure  C.mc_error
}

var (
	cache = C.mc_new(C.MC_TTL_DEFAULT)
	// The channels of those who wait. C must not keep a Go pointer, so the id in C is the key.
	waiting sync.Map
)

// get returns the decoded manifest. A goroutine that waits for the load of another one waits on a
// channel and holds no thread. What load returns or panics with reaches the caller; all others get a
// failed load.
func get(pluginID string, within *C.mc_load, load loader) (*manifest, error) {
	id := C.CString(pluginID) // a NUL in the id would end it
	key := unsafe.Pointer(id)
	defer C.free(key)
	if kept, ok := decoded.Load(pluginID); ok && C.mc_revision(cache, id) == kept.(version).revision {
		return kept.(version).manifest, nil
	}
	told := make(chan outcome, 1) // so that goDone does not wait
	waiting.Store(key, told)
	defer waiting.Delete(key)

	var answer *C.mc_load
	var result outcome
	switch C.mc_begin_async(cache, id, within, C.mc_done(C.goDone), key,
		&answer, &result.manifest, &result.failure) {
	case C.MC_PENDING:
		result = <-told
	case C.MC_BEGUN:
		if err := bring(pluginID, answer, load, &result); err != nil {
			return nil, err
		}
	}
	if result.manifest == nil {
		failure := &result.failure
		return nil, fmt.Errorf("status %d at %d:%d %s", failure.status, failure.line,
			failure.column, C.GoString(&failure.message[0]))
	}
	defer C.mc_string_free(result.manifest)
	return decode(pluginID, result.manifest)
}

//export goDone
func goDone(manifest *C.char, failure *C.mc_error, id unsafe.Pointer) {
	told, _ := waiting.Load(id)
	told.(chan outcome) <- outcome{manifest, *failure}
}

// bring runs the loader and ends the load, also when the loader panics: the panic goes on.
func bring(pluginID string, answer *C.mc_load, load loader, result *outcome) (err error) {
	defer func() {
		raised := recover()
		if raised != nil {
			err = fmt.Errorf("%v", raised)
		}
		if err != nil {
			message := C.CString(err.Error())
			defer C.free(unsafe.Pointer(message))
			C.mc_load_fail(answer, 0, message)
		}
		result.manifest = C.mc_end(&answer, &result.failure)
		if raised != nil {
			panic(raised)
		}
	}()
	return load(pluginID, answer)
}

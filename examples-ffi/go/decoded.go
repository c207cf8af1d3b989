package main

// #include <manifest_cache.h>
import "C"

import (
	"encoding/json"
	"sync"
	"unsafe"
)

// manifest is what this host knows of a manifest. Those who get it share it, so nobody changes it.
type manifest struct {
	Name string `json:"name"`
	Unit string `json:"unit,omitempty"`
	Icon string `json:"icon,omitempty"`
}

type version struct {
	revision C.uint64_t
	manifest *manifest
}

var (
	decoded  sync.Map // the last version of each plugin, which is used while its revision is current
	decoding sync.Mutex
	decodes  int
)

// decode decodes a manifest once for each revision, also if others have waited for the same load.
func decode(pluginID string, text *C.char) (*manifest, error) {
	decoding.Lock()
	defer decoding.Unlock()
	revision := C.mc_string_revision(text)
	if kept, ok := decoded.Load(pluginID); ok && kept.(version).revision == revision {
		return kept.(version).manifest, nil
	}
	bytes := unsafe.Slice((*byte)(unsafe.Pointer(text)), C.mc_string_len(text))
	result := new(manifest)
	if err := json.Unmarshal(bytes, result); err != nil {
		return nil, err
	}
	decodes++
	decoded.Store(pluginID, version{revision, result})
	return result, nil
}

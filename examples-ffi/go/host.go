// The host in Go, with cgo: host DIRECTORY
package main

// #include <manifest_cache.h>
import "C"

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
)

var (
	root    = C.CString(os.Args[1])
	needs   = map[string]string{"chicken": "egg", "egg": "chicken"}
	weather = C.CString("weather")
	notes   = C.CString("notes")
)

func load(pluginID string, answer *C.mc_load) error {
	if pluginID == "cursed" {
		panic("the loader raised this")
	}
	if needed, ok := needs[pluginID]; ok {
		if _, err := get(needed, answer, load); err != nil {
			return err
		}
	}
	C.mc_load_directory(answer, root)
	return nil
}

func result(pluginID string, load loader) (text string) {
	defer func() {
		if raised := recover(); raised != nil {
			text = fmt.Sprintf("%s: %v", pluginID, raised)
		}
	}()
	manifest, err := get(pluginID, nil, load)
	if err != nil {
		return fmt.Sprintf("%s: %v", pluginID, err)
	}
	shown, _ := json.Marshal(manifest)
	return fmt.Sprintf("%s: %d bytes %s", pluginID, len(shown), shown)
}

// share lets two goroutines share one load: the loader starts the second, and waits until that
// waits for it.
func share(pluginID string) {
	waiter := make(chan string, 1)
	waits := C.mc_stat(cache, C.MC_STAT_WAITS)
	loader := result(pluginID, func(pluginID string, answer *C.mc_load) error {
		go func() { waiter <- result(pluginID, load) }()
		for C.mc_stat(cache, C.MC_STAT_WAITS) == waits {
			runtime.Gosched()
		}
		return load(pluginID, answer)
	})
	fmt.Printf("waiter %s\nloader %s\n", <-waiter, loader)
}

func main() {
	if os.Args[1] == "--waiters" {
		showWaiters()
		return
	}
	plugins, err := os.ReadDir(os.Args[1])
	if err != nil {
		panic(err)
	}
	defer C.mc_free(cache)
	C.mc_set_option(cache, C.MC_OPT_FAILURE_TTL_MS, C.MC_TTL_FOREVER)
	for _, plugin := range plugins {
		if plugin.Name()[0] != '.' {
			fmt.Println("load", result(plugin.Name(), load))
		}
	}
	fmt.Println("hit", result("weather", load))
	C.mc_clear(cache, weather)
	fmt.Println("miss", result("weather", load))
	fmt.Println("not found", result("absent", load))
	C.mc_clear(cache, notes)
	share("notes")
	share("cursed")
	fmt.Println("cycle", result("chicken", load))
	names := []string{"entries", "misses", "loads", "failures", "not found"}
	for i, which := range []C.int32_t{C.MC_STAT_TOTAL_ENTRIES, C.MC_STAT_MISSES, C.MC_STAT_LOADS,
		C.MC_STAT_LOAD_FAILURES, C.MC_STAT_NOT_FOUND} {
		fmt.Printf("%s: %d\n", names[i], C.mc_stat(cache, which))
	}
	good := C.mc_stat(cache, C.MC_STAT_LOADS) - C.mc_stat(cache, C.MC_STAT_LOAD_FAILURES) -
		C.mc_stat(cache, C.MC_STAT_NOT_FOUND)
	if decodes != int(good) {
		panic(fmt.Sprintf("%d decodes of the manifests of %d loads", decodes, good))
	}
}

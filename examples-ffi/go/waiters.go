package main

// #include <manifest_cache.h>
// #include <string.h>
import "C"

import (
	"fmt"
	"os"
	"time"
)

const waiters, loadTime = 400, 300 * time.Millisecond

// showWaiters shows that goroutines that wait for a load hold no threads: host --waiters
func showWaiters() {
	told := make(chan error, waiters)
	threads, manifest := 0, C.CString(`{"name":"Slow"}`)
	slow := func(_ string, answer *C.mc_load) error {
		end := time.Now().Add(loadTime)
		for i := 0; i < waiters; i++ {
			go func() {
				_, err := get("slow", nil, load)
				told <- err
			}()
		}
		for time.Now().Before(end) || C.mc_stat(cache, C.MC_STAT_WAITS) < waiters {
			time.Sleep(time.Millisecond)
			tasks, err := os.ReadDir("/proc/self/task")
			if err != nil {
				return err
			}
			if threads < len(tasks) {
				threads = len(tasks)
			}
		}
		C.mc_load_json(answer, manifest, C.strlen(manifest))
		return nil
	}
	_, err := get("slow", nil, slow)
	for i := 0; i < waiters && err == nil; i++ {
		err = <-told
	}
	if err != nil {
		panic(err)
	}
	fmt.Printf("%d goroutines waited for one load of %v with %d threads\n",
		C.mc_stat(cache, C.MC_STAT_WAITS), loadTime, threads)
}

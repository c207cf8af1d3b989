module manifest-cache-host

go 1.19

-- The host in LuaJIT: luajit host.lua DIRECTORY

local ffi = require("ffi")

ffi.cdef[[
typedef struct mc_cache mc_cache;
typedef struct mc_load mc_load;
typedef void (*mc_loader)(const char *plugin_id, mc_load *load, void *user_data);
typedef struct { int32_t status, code; uint32_t line, column; char message[496]; } mc_error;
mc_cache *mc_new(uint64_t ttl_ms);
const char *mc_get(mc_cache *, const char *plugin_id, mc_loader, void *user_data, mc_error *);
size_t mc_clear(mc_cache *, const char *plugin_id);
uint64_t mc_stat(const mc_cache *, int32_t which);
void mc_free(mc_cache *);
size_t mc_string_len(const char *);
void mc_string_free(const char *);
int32_t mc_load_directory(mc_load *, const char *root);
void mc_load_fail(mc_load *, int32_t code, const char *message);
]]
local mc = ffi.load("manifest_cache")

local STATISTICS = {
  [1] = "entries", [4] = "hits", [5] = "misses", [6] = "loads", [7] = "failures", [8] = "not found"
}
local root = arg[1]

local function load_plugin(plugin_id, answer)
  if plugin_id == "cursed" then error("the loader raised this", 0) end
  mc.mc_load_directory(answer, root)
end

-- LuaJIT runs the clean-up of C when an error passes through it only where it can unwind C, as on
-- x86-64 Linux.
local callback = ffi.cast("mc_loader", function(plugin_id, answer)
  local ok, message = pcall(load_plugin, ffi.string(plugin_id), answer)
  if not ok then mc.mc_load_fail(answer, 0, tostring(message)) end
end)

local function show(cache, what, plugin_id, loader)
  local failure = ffi.new("mc_error")
  -- A NUL in the id would end it.
  local manifest = mc.mc_get(cache, plugin_id, loader, nil, failure)
  if manifest ~= nil then
    local text = ffi.string(manifest, mc.mc_string_len(manifest))
    mc.mc_string_free(manifest)
    print(("%s %s: %d bytes %s"):format(what, plugin_id, #text, text))
  else
    print(("%s %s: status %d at %d:%d %s"):format(what, plugin_id, failure.status, failure.line,
      failure.column, ffi.string(failure.message)))
  end
end
-- LuaJIT would compile this after some hits; a miss that then calls back ends the program with "bad
-- callback".
jit.off(show)

-- Lua cannot list a directory, so this runs ls. It takes a name with a newline for two.
local function list(directory)
  local names, ls = {}, assert(io.popen("ls -- '" .. directory:gsub("'", "'\\''") .. "'"))
  for name in ls:lines() do names[#names + 1] = name end
  ls:close()
  table.sort(names)
  return names
end

local cache = mc.mc_new(300000)
for _, name in ipairs(list(root)) do
  show(cache, "load", name, callback)
end
show(cache, "hit", "weather", callback)
mc.mc_clear(cache, "weather")
show(cache, "miss", "weather", nil)
show(cache, "not found", "absent", callback)
show(cache, "raise", "cursed", callback)
show(cache, "raise again", "cursed", callback)
for which = 1, 8 do
  local name = STATISTICS[which]
  if name then print(("%s: %d"):format(name, tonumber(mc.mc_stat(cache, which)))) end
end
mc.mc_free(cache)
callback:free()

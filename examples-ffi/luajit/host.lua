-- The host in LuaJIT: luajit host.lua DIRECTORY

local ffi = require("ffi")

ffi.cdef[[
typedef struct mc_cache mc_cache;
typedef struct mc_load mc_load;
typedef struct { int32_t status, code; uint32_t line, column; char message[496]; } mc_error;
mc_cache *mc_new(uint64_t ttl_ms);
int32_t mc_begin(mc_cache *, const char *plugin_id, mc_load *within, mc_load **load,
                 const char **manifest, mc_error *);
const char *mc_end(mc_load **, mc_error *);
int32_t mc_set_option(mc_cache *, int32_t option, uint64_t value);
size_t mc_clear(mc_cache *, const char *plugin_id);
uint64_t mc_stat(const mc_cache *, int32_t which);
void mc_free(mc_cache *);
size_t mc_string_len(const char *);
void mc_string_free(const char *);
int32_t mc_load_directory(mc_load *, const char *root);
void mc_load_fail(mc_load *, int32_t code, const char *message);
]]
local mc = ffi.load("manifest_cache")

local BEGUN, OPT_FAILURE_TTL_MS, TTL_DEFAULT, TTL_FOREVER = 9, 11, 300000, -1ULL
local STATISTICS = { { "entries", 1 }, { "misses", 5 }, { "loads", 6 }, { "failures", 7 },
  { "not found", 8 } }
local NEEDS = { chicken = "egg", egg = "chicken" }
local root, cache = arg[1], mc.mc_new(TTL_DEFAULT)

-- Raises the error of the cache, or what the loader raises.
local function get(plugin_id, within, loader)
  local answer, manifest = ffi.new("mc_load *[1]"), ffi.new("const char *[1]")
  local failure = ffi.new("mc_error")
  -- A NUL in the id would end it.
  if mc.mc_begin(cache, plugin_id, within, answer, manifest, failure) == BEGUN then
    local ok, raised = pcall(loader, plugin_id, answer[0])
    if not ok then mc.mc_load_fail(answer[0], 0, tostring(raised)) end
    manifest[0] = mc.mc_end(answer, failure)
    if not ok then
      mc.mc_string_free(manifest[0])
      error(raised, 0)
    end
  end
  if manifest[0] == nil then
    error(("status %d at %d:%d %s"):format(failure.status, failure.line, failure.column,
      ffi.string(failure.message)), 0)
  end
  local text = ffi.string(manifest[0], mc.mc_string_len(manifest[0]))
  mc.mc_string_free(manifest[0])
  return text
end

local function load_plugin(plugin_id, answer)
  if plugin_id == "cursed" then error("the loader raised this", 0) end
  if NEEDS[plugin_id] then get(NEEDS[plugin_id], answer, load_plugin) end
  mc.mc_load_directory(answer, root)
end

local function outcome(plugin_id)
  local ok, result = pcall(get, plugin_id, nil, load_plugin)
  return plugin_id .. ": " .. (ok and ("%d bytes %s"):format(#result, result) or result)
end

-- Lua has no threads, so nobody waits while a plugin loads. Who comes later gets the same.
local function share(plugin_id)
  local loader = outcome(plugin_id)
  print("waiter " .. outcome(plugin_id) .. "\nloader " .. loader)
end

-- Lua cannot list a directory, so this runs ls. It takes a name with a newline for two.
local function list(directory)
  local names, ls = {}, assert(io.popen("ls -- '" .. directory:gsub("'", "'\\''") .. "'"))
  for name in ls:lines() do names[#names + 1] = name end
  ls:close()
  table.sort(names)
  return names
end

mc.mc_set_option(cache, OPT_FAILURE_TTL_MS, TTL_FOREVER)
for _, name in ipairs(list(root)) do print("load " .. outcome(name)) end
print("hit " .. outcome("weather"))
mc.mc_clear(cache, "weather")
print("miss " .. outcome("weather"))
print("not found " .. outcome("absent"))
mc.mc_clear(cache, "notes")
share("notes")
share("cursed")
print("cycle " .. outcome("chicken"))
for _, one in ipairs(STATISTICS) do
  print(("%s: %d"):format(one[1], tonumber(mc.mc_stat(cache, one[2]))))
end
mc.mc_free(cache)

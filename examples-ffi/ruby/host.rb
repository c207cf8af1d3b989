# frozen_string_literal: true

# The host in Ruby, with the gem ffi: ruby host.rb DIRECTORY

require 'ffi'

module ManifestCache
  extend FFI::Library

  ffi_lib 'manifest_cache'

  TTL_DEFAULT = 300_000
  STATISTICS = {
    'entries' => 1, 'hits' => 4, 'misses' => 5, 'loads' => 6, 'failures' => 7, 'not found' => 8
  }.freeze

  class Error < FFI::Struct
    layout :status, :int32, :code, :int32, :line, :uint32, :column, :uint32, :message, [:char, 496]
  end

  callback :mc_loader, %i[string pointer pointer], :void
  attach_function :mc_new, [:uint64], :pointer
  # Without blocking: true a thread that waits for another caller's load stops that thread until
  # MC_TIMEOUT.
  # An owned string is a :pointer. The gem would copy a :string and lose the pointer, which could
  # then not be freed.
  attach_function :mc_get, [:pointer, :string, :mc_loader, :pointer, Error.by_ref], :pointer,
                  blocking: true
  attach_function :mc_clear, %i[pointer string], :size_t
  attach_function :mc_stat, %i[pointer int32], :uint64
  attach_function :mc_free, [:pointer], :void
  attach_function :mc_string_len, [:pointer], :size_t
  attach_function :mc_string_free, [:pointer], :void
  attach_function :mc_load_directory, %i[pointer string], :int32
  attach_function :mc_load_fail, %i[pointer int32 string], :void
end

root = ARGV.fetch(0)

load_plugin = lambda do |plugin_id, answer|
  raise 'the loader raised this' if plugin_id == 'cursed'

  ManifestCache.mc_load_directory(answer, root)
end

# The gem raises an exception of the loader when mc_get() has ended, instead of returning its
# result, which would leak. Nothing catches throw and Thread#kill: they skip the library's clean-up,
# and later calls for this plugin return MC_TIMEOUT or MC_LOAD_CYCLE.
guarded = lambda do |plugin_id, answer, _user_data|
  load_plugin.call(plugin_id, answer)
rescue Exception => e # rubocop:disable Lint/RescueException
  ManifestCache.mc_load_fail(answer, 0, e.message)
end

def show(cache, what, plugin_id, loader)
  error = ManifestCache::Error.new
  manifest = ManifestCache.mc_get(cache, plugin_id, loader, nil, error)
  if manifest.null?
    message = error[:message].to_s.force_encoding(Encoding::UTF_8)
    place = "#{error[:line]}:#{error[:column]}"
    puts "#{what} #{plugin_id}: status #{error[:status]} at #{place} #{message}"
  else
    text = manifest.read_bytes(ManifestCache.mc_string_len(manifest))
    text.force_encoding(Encoding::UTF_8)
    puts "#{what} #{plugin_id}: #{text.bytesize} bytes #{text}"
  end
ensure
  ManifestCache.mc_string_free(manifest)
end

cache = ManifestCache.mc_new(ManifestCache::TTL_DEFAULT)
Dir.children(root, encoding: Encoding::UTF_8).sort.each do |name|
  show(cache, 'load', name, guarded) unless name.start_with?('.')
end
show(cache, 'hit', 'weather', guarded)
ManifestCache.mc_clear(cache, 'weather')
show(cache, 'miss', 'weather', nil)
show(cache, 'not found', 'absent', guarded)
show(cache, 'raise', 'cursed', guarded)
show(cache, 'raise again', 'cursed', guarded)
ManifestCache::STATISTICS.each do |name, which|
  puts "#{name}: #{ManifestCache.mc_stat(cache, which)}"
end
ManifestCache.mc_free(cache)

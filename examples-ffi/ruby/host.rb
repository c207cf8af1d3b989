# frozen_string_literal: true

# The host in Ruby, with the gem ffi: ruby host.rb DIRECTORY

require 'ffi'

module MC
  extend FFI::Library
  ffi_lib 'manifest_cache'

  BEGUN, OPT_FAILURE_TTL_MS = 9, 11
  TTL_DEFAULT, TTL_FOREVER = 300_000, (2**64) - 1

  class Error < FFI::Struct
    layout :status, :int32, :code, :int32, :line, :uint32, :column, :uint32, :message, [:char, 496]

    def to_s
      message = self[:message].to_s.force_encoding(Encoding::UTF_8)
      "status #{self[:status]} at #{self[:line]}:#{self[:column]} #{message}"
    end
  end

  attach_function :mc_new, [:uint64], :pointer
  # Without blocking: true a thread that waits for a load would stop the thread that loads. An owned
  # string is a :pointer. Of a :string the gem returns a copy, and nothing could free it.
  attach_function :mc_begin, %i[pointer string pointer pointer pointer pointer], :int32,
                  blocking: true
  attach_function :mc_end, %i[pointer pointer], :pointer
  attach_function :mc_set_option, %i[pointer int32 uint64], :int32
  attach_function :mc_clear, %i[pointer string], :size_t
  attach_function :mc_stat, %i[pointer int32], :uint64
  attach_function :mc_free, %i[pointer], :void
  attach_function :mc_string_len, %i[pointer], :size_t
  attach_function :mc_string_free, %i[pointer], :void
  attach_function :mc_load_directory, %i[pointer string], :int32
  attach_function :mc_load_fail, %i[pointer int32 string], :void
end

STATISTICS = { entries: 1, misses: 5, loads: 6, failures: 7, 'not found': 8 }.freeze
NEEDS = { 'chicken' => 'egg', 'egg' => 'chicken' }.freeze
ROOT = ARGV.fetch(0)
CACHE = MC.mc_new(MC::TTL_DEFAULT)

def get(plugin_id, within, loader)
  answer, manifest = Array.new(2) { FFI::MemoryPointer.new(:pointer) }
  error = MC::Error.new
  if MC.mc_begin(CACHE, plugin_id, within, answer, manifest, error) == MC::BEGUN
    begin
      loader.call(plugin_id, answer.read_pointer)
    rescue Exception => e # rubocop:disable Lint/RescueException
      MC.mc_load_fail(answer.read_pointer, 0, e.message)
      raise
    ensure # also after throw and Thread#kill
      manifest.write_pointer(MC.mc_end(answer, error))
    end
  end
  raise error.to_s if manifest.read_pointer.null?

  manifest.read_pointer.read_bytes(MC.mc_string_len(manifest.read_pointer)).force_encoding('UTF-8')
ensure
  MC.mc_string_free(manifest.read_pointer)
end

LOAD = lambda do |plugin_id, answer|
  raise 'the loader raised this' if plugin_id == 'cursed'

  get(NEEDS[plugin_id], answer, LOAD) if NEEDS.key?(plugin_id)
  MC.mc_load_directory(answer, ROOT)
end

def outcome(plugin_id, loader = LOAD)
  manifest = get(plugin_id, nil, loader)
  "#{plugin_id}: #{manifest.bytesize} bytes #{manifest}"
rescue StandardError => e
  "#{plugin_id}: #{e.message}"
end

def share(plugin_id)
  waiter = nil
  loader = outcome(plugin_id, lambda do |_, answer|
    waiter = Thread.new { outcome(plugin_id) }
    waiter.join(0.1) # so that it waits for this load; later it would get the same
    LOAD.call(plugin_id, answer)
  end)
  puts "waiter #{waiter.value}", "loader #{loader}"
end

MC.mc_set_option(CACHE, MC::OPT_FAILURE_TTL_MS, MC::TTL_FOREVER)
names = Dir.children(ROOT, encoding: Encoding::UTF_8).sort
names.grep_v(/^\./).each { |name| puts "load #{outcome(name)}" }
puts "hit #{outcome('weather')}"
MC.mc_clear(CACHE, 'weather')
puts "miss #{outcome('weather')}"
puts "not found #{outcome('absent')}"
MC.mc_clear(CACHE, 'notes')
share('notes')
share('cursed')
puts "cycle #{outcome('chicken')}"
STATISTICS.each { |name, which| puts "#{name}: #{MC.mc_stat(CACHE, which)}" }
MC.mc_free(CACHE)

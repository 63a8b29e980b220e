defmodule Sippet.FixtureCrate do
  @moduledoc false
  # A crate without dependencies that cargo builds in a tenth of a second, laid out as this project is.
  # Its library is a NIF of the module `Sippet.FixtureNif`, written against the C interface:
  # pick(:one, :two) gives the one that the source names.

  @workspace """
  [workspace]
  resolver = "2"
  members = ["native/sippet_nif"]

  [workspace.package]
  rust-version = "1.70"
  """

  @manifest """
  [package]
  name = "sippet_nif"
  version = "0.1.0"
  edition = "2021"
  rust-version.workspace = true

  [lib]
  crate-type = ["cdylib"]
  """

  @lock """
  version = 3

  [[package]]
  name = "sippet_nif"
  version = "0.1.0"
  """

  # erl_nif.h: ErlNifEntry and ErlNifFunc, as they stand since NIF version 2.14.
  @source """
  use std::ffi::{c_char, c_int, c_uint, c_void};

  type Term = usize;

  #[repr(C)]
  pub struct Func {
      name: *const c_char,
      arity: c_uint,
      function: extern "C" fn(*mut c_void, c_int, *const Term) -> Term,
      flags: c_uint,
  }

  #[repr(C)]
  pub struct Entry {
      major: c_int,
      minor: c_int,
      name: *const c_char,
      func_count: c_int,
      funcs: *const Func,
      load: *const c_void,
      reload: *const c_void,
      upgrade: *const c_void,
      unload: *const c_void,
      variant: *const c_char,
      options: c_uint,
      resource_init_size: usize,
      min_erts: *const c_char,
  }

  extern "C" fn pick(_env: *mut c_void, _argc: c_int, argv: *const Term) -> Term {
      unsafe { *argv.add(PICKED) }
  }

  #[no_mangle]
  pub extern "C" fn nif_init() -> *const Entry {
      let pick = Func { name: c"pick".as_ptr(), arity: 2, function: pick, flags: 0 };
      let none = std::ptr::null();
      Box::leak(Box::new(Entry {
          major: 2,
          minor: 15,
          name: c"Elixir.Sippet.FixtureNif".as_ptr(),
          func_count: 1,
          funcs: Box::leak(Box::new(pick)),
          load: none,
          reload: none,
          upgrade: none,
          unload: none,
          variant: c"beam.vanilla".as_ptr(),
          options: 1,
          resource_init_size: 4 * std::mem::size_of::<usize>(),
          min_erts: c"erts-13.0".as_ptr(),
      }))
  }
  """

  @doc "Writes the workspace into `root`; its library picks the first argument."
  @spec write(Path.t()) :: :ok
  def write(root) do
    put(root, "Cargo.toml", @workspace)
    put(root, "Cargo.lock", @lock)
    put(root, "native/sippet_nif/Cargo.toml", @manifest)
    pick(root, 0)
  end

  @doc "Writes a source whose library picks the argument at `index`."
  @spec pick(Path.t(), 0 | 1) :: :ok
  def pick(root, index), do: put_source(root, @source <> "\nconst PICKED: usize = #{index};\n")

  @doc "Writes a source."
  @spec put_source(Path.t(), String.t()) :: :ok
  def put_source(root, text), do: put(root, "native/sippet_nif/src/lib.rs", text)

  @doc "Writes a file below `root`."
  @spec put(Path.t(), Path.t(), String.t()) :: :ok
  def put(root, path, text) do
    path = Path.join(root, path)
    File.mkdir_p!(Path.dirname(path))
    File.write!(path, text)
  end
end

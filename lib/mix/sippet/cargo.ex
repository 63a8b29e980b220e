defmodule Mix.Sippet.Cargo do
  @moduledoc false
  # Runs `cargo build` and reads its answer: JSON lines name the library that was made, and the text
  # around them carries the compiler's messages (there is no JSON decoder in OTP 25).

  alias Mix.Sippet.{Failure, Nif}

  @doc """
  Builds the crate.

  Gives the path of the library and the warnings; cargo's text is printed as it comes.
  """
  @spec build(Nif.t()) ::
          {:ok, Path.t(), [Mix.Task.Compiler.Diagnostic.t()]}
          | {:error, [Mix.Task.Compiler.Diagnostic.t()]}
  def build(nif) do
    with :ok <- check_version(nif) do
      {status, lines} = run(nif)
      {json, text} = Enum.split_with(lines, &json?/1)
      result(nif, status, library(json), text)
    end
  end

  defp result(nif, 0, {:ok, library}, text), do: {:ok, library, diagnostics(text, nif.root)}

  defp result(nif, 0, :error, _text),
    do: Failure.plain(nif, "cargo built #{nif.crate}, but named no library of the kind cdylib")

  defp result(nif, status, _library, text) do
    diagnostics = diagnostics(text, nif.root)

    if Enum.any?(diagnostics, &(&1.severity == :error)) do
      {:error, diagnostics}
    else
      Failure.plain(nif, "cargo ended with status #{status}")
    end
  end

  ## The version

  # An older cargo fails too, but over the edition or the lock file, which tells nobody what to do.
  defp check_version(%{cargo: nil} = nif) do
    Failure.plain(
      nif,
      "Sippet's parser is written in Rust, and cargo was not found: install Rust " <>
        "#{wanted(nif)} or newer from https://rustup.rs, or point SIPPET_NIF_PATH to a prebuilt library."
    )
  end

  defp check_version(nif) do
    {text, _status} = System.cmd(nif.cargo, ["--version"], cd: nif.crate, stderr_to_stdout: true)

    case Regex.run(~r/^cargo (\d+\.\d+\.\d+)/m, text) do
      [_, found] -> compare(nif, found, wanted(nif))
      nil -> :ok
    end
  end

  defp compare(nif, found, wanted) do
    if Version.compare(found, complete(wanted)) == :lt do
      Failure.plain(
        nif,
        "Sippet's parser needs Rust #{wanted} or newer, and #{nif.cargo} is #{found}: " <>
          "install a newer one from https://rustup.rs."
      )
    else
      :ok
    end
  end

  defp wanted(nif) do
    manifest = File.read!(Path.join(nif.root, "Cargo.toml"))
    [_, version] = Regex.run(~r/^rust-version\s*=\s*"(\d+(?:\.\d+){1,2})"/m, manifest)
    version
  end

  defp complete(version) do
    case String.split(version, ".") do
      [_, _, _] -> version
      [_, _] -> version <> ".0"
    end
  end

  ## The run

  # The messages of panics name the files that they are of, those of the registry's crates in the home of who builds: rustc
  # is told to write other names. Cargo takes flags from one place alone. These of its configuration are added to those of
  # other configuration files, and count where no variable has any; where one has, its flags are added to (environment/1).
  @flags ["build.rustflags", ~S|target.'cfg(target_env = "musl")'.rustflags|]

  defp run(nif) do
    port =
      Port.open({:spawn_executable, nif.cargo}, [
        :binary,
        :exit_status,
        :stderr_to_stdout,
        :hide,
        cd: nif.crate,
        args: arguments(nif),
        env: environment(nif)
      ])

    collect(port, nif.print, "", [])
  end

  defp arguments(nif) do
    ~w(build --locked --color never --message-format json-render-diagnostics) ++
      ["--profile", nif.profile, "--target-dir", nif.target_dir] ++
      if(nif.target, do: ["--target", nif.target], else: []) ++
      for(key <- @flags, option <- ["--config", "#{key}=#{toml(remaps(nif))}"], do: option)
  end

  ## The paths of this machine

  defp remaps(nif),
    do: for({folder, name} <- nif.hidden, do: "--remap-path-prefix=#{folder}=#{name}")

  defp toml(texts), do: "[" <> Enum.map_join(texts, ",", &toml_string/1) <> "]"
  defp toml_string(text), do: ~s(") <> String.replace(text, ~r/["\\]/, ~S(\\\0)) <> ~s(")

  # CARGO_ENCODED_RUSTFLAGS goes before RUSTFLAGS, and may hold blanks.
  defp environment(nif) do
    case {System.get_env("CARGO_ENCODED_RUSTFLAGS"), System.get_env("RUSTFLAGS")} do
      {nil, nil} -> []
      {nil, flags} -> encoded(String.split(flags, " ", trim: true), nif)
      {flags, _other} -> encoded(String.split(flags, "\x1F", trim: true), nif)
    end
  end

  defp encoded(flags, nif) do
    flags = Enum.join(flags ++ remaps(nif), "\x1F")
    [{~c"CARGO_ENCODED_RUSTFLAGS", String.to_charlist(flags)}]
  end

  defp collect(port, print, start, lines) do
    receive do
      {^port, {:data, data}} ->
        {start, whole} = List.pop_at(String.split(start <> data, "\n"), -1)
        Enum.each(whole, &show(&1, print))
        collect(port, print, start, Enum.reverse(whole, lines))

      {^port, {:exit_status, status}} ->
        if start != "", do: show(start, print)
        {status, Enum.reverse([start | lines])}
    end
  end

  defp show(line, print) do
    unless json?(line), do: print.(line)
  end

  defp json?(line), do: String.starts_with?(line, ~s({"reason":))

  ## The library

  # Cargo names one artifact a line, a dependency before what depends on it: the crate's own is the last.
  defp library(json) do
    json
    |> Enum.filter(&(&1 =~ ~s("reason":"compiler-artifact") and &1 =~ ~s("kind":["cdylib"])))
    |> Enum.flat_map(&file_names/1)
    |> Enum.filter(&(Path.extname(&1) in ~w(.so .dylib .dll)))
    |> List.last()
    |> case do
      nil -> :error
      name -> {:ok, name}
    end
  end

  # A string can hold the name of this field with its quotes escaped only, so the match is the field.
  defp file_names(line) do
    [_, list] = Regex.run(~r/.*"filenames":\[((?:"(?:[^"\\]|\\.)*",?)*)\]/, line)

    for [_, text] <- Regex.scan(~r/"((?:[^"\\]|\\.)*)"/, list),
        do: Regex.replace(~r/\\(["\\\/])/, text, "\\1")
  end

  ## The messages

  # A message starts with its severity, names its place in an arrow line, and goes on up to the next
  # message or one of cargo's status lines ("   Compiling …": a verb in twelve columns). Where the
  # compiler gave places, the messages without one only sum up.
  defp diagnostics(text, root) do
    found = text |> Enum.chunk_while(nil, &chunk/2, &emit/1) |> Enum.map(&diagnostic(&1, root))
    {errors, warnings} = Enum.split_with(found, &(&1.severity == :error))
    prefer_places(errors) ++ prefer_places(warnings)
  end

  defp chunk(line, message) do
    cond do
      line =~ ~r/^(error|warning)(\[\w+\])?: / -> next(message, [line])
      message == nil or line =~ ~r/^(?= +[A-Z])[A-Za-z ]{12} / -> next(message, nil)
      true -> {:cont, [line | message]}
    end
  end

  defp next(nil, start), do: {:cont, start}
  defp next(message, start), do: {:cont, message, start}

  defp emit(message), do: next(message, nil)

  defp diagnostic(lines, root) do
    text = lines |> Enum.reverse() |> Enum.join("\n") |> String.trim_trailing()
    severity = if String.starts_with?(text, "error"), do: :error, else: :warning
    {file, line} = place(text)
    Failure.diagnostic(severity, text, Path.expand(file, root), line)
  end

  defp place(text) do
    case Regex.run(~r/^ *--> (.+):(\d+):\d+$/m, text) do
      [_, file, line] -> {file, String.to_integer(line)}
      nil -> {"Cargo.toml", 0}
    end
  end

  defp prefer_places(diagnostics) do
    case Enum.filter(diagnostics, &(&1.position > 0)) do
      [] -> diagnostics
      placed -> placed
    end
  end
end

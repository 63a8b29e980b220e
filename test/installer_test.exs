defmodule InstallerTest do
  # `mix sippet.new` as a user runs it: an archive that is made of installer/, and a project that it makes. What the
  # task refuses is in test/mix/tasks/sippet.new_test.exs.

  # It compiles the whole library, beside which tests of timing would come too late.
  use Sippet.Interop.Case, async: false

  import Sippet.ScriptedUserAgent

  alias Sippet.{Dialog, ScriptedUserAgent}

  @moduletag timeout: 180_000
  @app "my_phone"
  # Of all names one that the code of the project also has for a module of the library.
  @module "Message"

  # What the project under test must not inherit from this one.
  @inherited ~w(MIX_ENV MIX_TARGET MIX_EXS MIX_DEPS_PATH MIX_BUILD_ROOT MIX_ARCHIVES SIP_PORT SIP_ADDRESS)

  setup_all do
    folder =
      Path.join(
        System.tmp_dir!(),
        "sippet-new-#{System.pid()}-#{System.unique_integer([:positive])}"
      )

    File.mkdir_p!(folder)
    on_exit(fn -> File.rm_rf!(folder) end)
    archive = Path.join(folder, "sippet_new.ez")

    mix!(folder, "installer", ["archive.build", "-o", archive], [
      {"MIX_ENV", "prod"},
      {"MIX_BUILD_PATH", Path.join(folder, "installer")}
    ])

    mix!(folder, folder, ["archive.install", "--force", archive])
    made = mix!(folder, folder, ["sippet.new", @app, "--module", @module, "--path", File.cwd!()])
    project = Path.join(folder, @app)
    mix!(folder, project, ["deps.compile"], [{"MIX_ENV", "test"}])
    %{folder: folder, project: project, made: made}
  end

  defp mix!(folder, cd, arguments, env \\ []) do
    {output, status} =
      System.cmd("mix", arguments, cd: cd, env: env(folder, env), stderr_to_stdout: true)

    assert status == 0, "mix #{Enum.join(arguments, " ")}:\n#{output}"
    output
  end

  # Nothing is built twice: all environments share a build, and the parser is this project's.
  defp env(folder, more) do
    library = Application.app_dir(:sippet, "priv/native/sippet_nif.so")
    sum = Base.encode16(:crypto.hash(:sha256, File.read!(library)), case: :lower)

    for(name <- @inherited, do: {name, nil}) ++
      [
        {"MIX_HOME", Path.join(folder, "mix")},
        {"MIX_BUILD_PATH", Path.join(folder, "build")},
        {"SIPPET_NIF_PATH", library},
        {"SIPPET_NIF_SHA256", sum}
      ] ++ more
  end

  # Starts the project, and waits until it listens.
  defp run(context, arguments) do
    port = Program.free_port()

    env =
      for {name, value} <- env(context.folder, [{"SIP_PORT", "#{port}"}]),
          value,
          do: {name, value}

    program =
      "mix"
      |> Program.start(["run", "--no-halt" | arguments],
        folder: context.project,
        env: env ++ [{"MIX_ENV", "dev"}],
        limit: 60
      )
      |> Program.await_bound(port, 2_000)

    {program, {{127, 0, 0, 1}, port}}
  end

  # SIGTERM for the VM itself: `timeout`, which started it, would kill it a second later.
  defp terminate(%{os_pid: os_pid} = program) do
    children = File.read!("/proc/#{os_pid}/task/#{os_pid}/children")
    {_output, 0} = System.cmd("kill", ["-TERM" | String.split(children)])
    Program.await(program)
  end

  # The phone is picked up at once, when this is evaluated before the application starts.
  defp at_once,
    do:
      "Application.put_env(:#{@app}, :ring, 0); {:ok, _} = Application.ensure_all_started(:#{@app})"

  test "tells what it does", %{folder: folder} do
    for arguments <- [["sippet.new", "--help"], ["help", "sippet.new"]] do
      assert mix!(folder, folder, arguments) =~ ~r/^Creates a Mix project .*--git/ms
    end

    assert mix!(folder, folder, ["help"]) =~ ~r/^mix sippet.new +# Creates a project/m
  end

  # Its VM knows nothing of the library.
  test "refuses the library's own name", %{folder: folder} do
    options = [cd: folder, env: env(folder, []), stderr_to_stdout: true]
    assert {output, 1} = System.cmd("mix", ~w(sippet.new sippet), options)
    assert output =~ "The name of the application is taken already"
    refute File.exists?(Path.join(folder, "sippet"))
  end

  test "asks somebody, and writes nothing where nobody answers", %{folder: folder} = context do
    core = Path.join(context.project, "lib/#{@app}/core.ex")
    before = File.stat!(core)

    assert {output, 1} =
             System.cmd("sh", ["-c", "mix sippet.new #{@app} </dev/null"],
               cd: folder,
               env: env(folder, []),
               stderr_to_stdout: true
             )

    assert output =~ "Nothing was written"
    assert File.stat!(core) == before
  end

  test "its project compiles, is formatted, and passes its tests", context do
    assert context.made =~ "cd #{@app}\n"
    strict = ["compile", "--force", "--warnings-as-errors"]
    mix!(context.folder, context.project, strict, [{"MIX_ENV", "test"}])
    mix!(context.folder, context.project, ["format", "--check-formatted"])

    assert mix!(context.folder, context.project, ["test"]) =~
             ~r/[1-9]\d* (tests, 0 failures|passed)/
  end

  describe "its project, when it runs" do
    @describetag Peers.tags(:sipp)

    test "answers a call of SIPp", context do
      {program, address} = run(context, [])
      result = address |> SIPp.run(["-sn", "uac"], calls: 2) |> SIPp.assert_success()
      assert result.successful == 2
      assert %{exit: 0, output: output} = terminate(program)
      refute output =~ "[error]"
    end
  end

  describe "its project, when it ends" do
    @describetag interop: true

    test "gives a call in progress its BYE", context do
      {program, {_ip, port}} = run(context, ["--no-start", "-e", at_once()])
      {alice, _address} = start_stack(ScriptedUserAgent)
      uri = "sip:bob@127.0.0.1:#{port}"
      invite = send_request(alice, ScriptedUserAgent.request(alice, :invite, uri))
      ok = assert_came(alice, {200, :invite})
      assert ok.body =~ "m=audio"
      {:ok, dialog} = Dialog.uac(invite, ok)
      send_request(alice, Dialog.build_ack(dialog, ok))
      # Its answer says that the call has had the ACK.
      {:ok, options, dialog} = Dialog.next_request(dialog, :options)
      send_request(alice, options)
      assert_came(alice, {200, :options})

      assert %{exit: 0, output: output} = terminate(program)
      bye = assert_came(alice, :bye)
      assert {:ok, %{state: :terminated}} = Dialog.receive_request(dialog, bye)
      refute output =~ "[error]"
    end

    test "refuses new calls first", context do
      stopping = at_once() <> "; #{@module}.Application.prep_stop([])"
      {_program, {_ip, port}} = run(context, ["--no-start", "-e", stopping])
      {alice, _address} = start_stack(ScriptedUserAgent)
      uri = "sip:bob@127.0.0.1:#{port}"

      # The port is open a moment before.
      Sippet.Wait.wait_until(fn ->
        send_request(alice, ScriptedUserAgent.request(alice, :options, uri))
        assert_receive {^alice, {:response, :options, status, _response, _key}}, 2_000
        status == 503
      end)
    end
  end
end

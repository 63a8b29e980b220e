# A test runs once: to optimise it takes the compiler longer than the test would gain, and is a third of its work.
unless System.get_env("ERL_COMPILER_OPTIONS"),
  do: System.put_env("ERL_COMPILER_OPTIONS", "[no_ssa_opt]")

# Tests begin while the files of others are still being compiled. To load a module then may take longer than T1, after
# which peers repeat themselves.
Enum.each(Application.spec(:sippet, :modules), &Code.ensure_loaded!/1)

# Under load a message may take its time; only a test that fails waits that long.
# The long tests wait for minutes: script/robustness runs them.
ExUnit.start(assert_receive_timeout: 1_000, exclude: [:endurance])

# A test that is left out must not look like one that passed.
for peer <- Sippet.Interop.Peers.all(), missing = Sippet.Interop.Peers.missing(peer) do
  title = Sippet.Interop.Peers.title(peer)

  IO.puts(
    :stderr,
    "\nSKIPPED: the tests against #{title}, a real peer (test/interop): #{missing}"
  )
end

# Under load a message may take its time; only a test that fails waits that long.
ExUnit.start(assert_receive_timeout: 1_000)

# A test that is left out must not look like one that passed.
for peer <- Sippet.Interop.Peers.all(), missing = Sippet.Interop.Peers.missing(peer) do
  title = Sippet.Interop.Peers.title(peer)

  IO.puts(
    :stderr,
    "\nSKIPPED: the tests against #{title}, a real peer (test/interop): #{missing}"
  )
end

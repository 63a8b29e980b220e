# Under load a message may take its time; only a test that fails waits that long.
ExUnit.start(assert_receive_timeout: 1_000)

# A test that is left out must not look like one that passed.
if missing = Sippet.SIPp.missing() do
  IO.puts(:stderr, "\nSKIPPED: the tests against SIPp, a real peer (test/interop): #{missing}\n")
end

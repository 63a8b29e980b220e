# Under load a message may take its time; only a test that fails waits that long.
ExUnit.start(assert_receive_timeout: 1_000)

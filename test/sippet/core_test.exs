defmodule Sippet.CoreTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureIO

  describe "use Sippet.Core" do
    test "lets a core take the stack's name, and mark that as an implementation" do
      source = """
      defmodule Sippet.CoreTest.Named do
        use Sippet.Core

        @impl true
        def receive_request(_request, _key, stack), do: stack

        @impl true
        def receive_response(_response, _key, stack), do: stack

        @impl true
        def receive_error(_reason, _key, stack), do: stack
      end
      """

      assert capture_io(:stderr, fn -> Code.compile_string(source) end) == ""
    end

    test "gives callbacks that say what is missing" do
      defmodule Empty do
        use Sippet.Core
      end

      for callback <- [:receive_request, :receive_response, :receive_error] do
        assert_raise RuntimeError, ~r"no #{callback}/2 was provided", fn ->
          apply(Empty, callback, [:anything, nil])
        end
      end
    end
  end
end

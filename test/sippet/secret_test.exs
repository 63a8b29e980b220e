defmodule Sippet.SecretTest do
  use ExUnit.Case, async: true

  alias Sippet.Secret

  describe "fetch/1" do
    test "gives a module the same secret again, and each its own" do
      assert Secret.fetch(__MODULE__.A) == Secret.fetch(__MODULE__.A)
      assert Secret.fetch(__MODULE__.A) != Secret.fetch(__MODULE__.B)
      assert byte_size(Secret.fetch(__MODULE__.A)) == 32
    end

    test "gives one secret to all that ask at once, and one to each owner" do
      for round <- 1..20 do
        owners = for n <- 1..2, do: Module.concat(__MODULE__, "R#{round}N#{n}")

        tasks =
          for owner <- owners ++ owners ++ owners,
              do: Task.async(fn -> receive(do: (:go -> Secret.fetch(owner))) end)

        for task <- tasks, do: send(task.pid, :go)
        assert tasks |> Task.await_many() |> Enum.uniq() |> length() == 2
      end
    end
  end
end

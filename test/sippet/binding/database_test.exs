defmodule Sippet.Binding.DatabaseTest do
  # The store of guides/registrar.md, with a repository that has transactions and no database.
  use ExUnit.Case, async: true

  import Sippet.Registering

  alias Sippet.Binding.Store
  alias Sippet.{Binding, Document}

  defmodule Repo do
    @moduledoc false
    # The rows are those of the calling process.

    def transaction(fun) do
      before = rows()

      try do
        {:ok, fun.()}
      catch
        {:rollback, result} ->
          put(before)
          {:error, result}
      end
    end

    def rollback(result), do: throw({:rollback, result})

    def query!("SELECT bindings " <> _rest, [key]),
      do: %{rows: for({^key, octets} <- rows(), do: [octets])}

    def query!("INSERT INTO " <> _rest, [key, octets]), do: put(Map.put_new(rows(), key, octets))
    def query!("UPDATE " <> _rest, [key, octets]), do: put(Map.replace!(rows(), key, octets))

    def rows, do: Process.get(__MODULE__, %{})
    defp put(rows), do: Process.put(__MODULE__, rows)
  end

  # The guide's own module is known to the whole VM while its code runs.
  @name "Sippet.Binding.DatabaseTest.GuideStore"

  setup_all do
    [block] =
      for block <- Document.elixir("guides/registrar.md"),
          block.text =~ "defmodule MyApp.BindingStore do",
          do: block

    block.text |> String.replace("MyApp.BindingStore", @name) |> Code.eval_string()
    %{store: {Module.concat([@name]), Repo}}
  end

  test "keeps bindings, and finds them", %{store: store} do
    assert Store.targets(store, uri("bob")) == {:ok, []}
    {:ok, _response} = Store.register(store, register("bob", ["sip:a@h"]))
    {:ok, response} = Store.register(store, register("bob", ["sip:b@h"]))
    assert length(response.headers.contact) == 2
    assert {:ok, [[second, first]]} = Store.targets(store, uri("bob"))

    assert {to_string(Binding.uri(first)), to_string(Binding.uri(second))} ==
             {"sip:a@h", "sip:b@h"}

    assert first.deadline == nil
  end

  test "changes nothing where the request is refused", %{store: store} do
    {:error, response} = Store.register(store, register("bob", ["sip:a@h"], expires: 5))
    assert response.start_line.status_code == 423
    assert Repo.rows() == %{}
  end
end

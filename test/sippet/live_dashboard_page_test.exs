defmodule Sippet.LiveDashboardPageTest do
  # The page of the guide to call records, compiled against what it uses of LiveDashboard 0.8, and
  # its rows.

  # The names of modules are known to the whole VM.
  use ExUnit.Case, async: false

  alias Sippet.Document

  @guide "guides/call-records.md"

  # The components of the page and their slots, with the attributes that they have in version 0.8.
  @attributes %{
    ".live_nav_bar" => ~w(id page nav_param extra_params style),
    ":item" => ~w(name label method),
    ".live_table" =>
      ~w(id page row_fetcher rows_name row_attrs default_sort_by title limit search hint dom_id),
    ":col" => ~w(field sortable header text_align)
  }
  @required %{
    ".live_nav_bar" => ~w(id page),
    ":item" => ~w(name),
    ".live_table" => ~w(id page row_fetcher title),
    ":col" => ~w(field)
  }

  defmodule Elixir.Phoenix.LiveDashboard.PageBuilder do
    @callback init(term) :: {:ok, map}
    @callback menu_link(map, map) :: {:ok, String.t()}
    @callback mount(map, map, map) :: {:ok, map}
    @callback render(map) :: term
    @optional_callbacks mount: 3

    defmacro __using__(_options) do
      quote do
        import Phoenix.LiveDashboard.PageBuilder
        @behaviour Phoenix.LiveDashboard.PageBuilder
        def init(options), do: {:ok, options}
        defoverridable init: 1
      end
    end

    def assign(socket, name, value), do: put_in(socket.assigns[name], value)

    # The tags with their attributes. What stands in braces is code of the place where the sigil
    # is.
    defmacro sigil_H({:<<>>, _meta, [text]}, _modifiers) do
      tags =
        for [_all, tag, attributes] <- Regex.scan(~r/<([.:]\w+)([^>]*)>/, text) do
          values =
            for [_all, name | value] <-
                  Regex.scan(~r/(\w+)=(?:"([^"]*)"|\{([^{}]*)\})/, attributes) do
              case value do
                [text] -> {name, text}
                ["", code] -> {name, read(code)}
              end
            end

          {tag, values}
        end

      quote(do: unquote(tags))
    end

    defp read(code) do
      code
      |> Code.string_to_quoted!()
      |> Macro.prewalk(fn
        {:@, _, [{name, _, nil}]} -> quote(do: Map.fetch!(var!(assigns), unquote(name)))
        other -> other
      end)
    end
  end

  setup_all do
    blocks = Document.elixir(@guide)
    [records | _] = blocks
    page = Enum.find(blocks, &(&1.text =~ "PageBuilder"))
    assert page.note =~ "not run: phoenix_live_dashboard"

    {modules, warnings} =
      with_io_captured(fn ->
        for block <- [records, page],
            {module, _} <- Code.compile_string(block.text, @guide),
            do: module
      end)

    assert warnings == ""

    on_exit(fn ->
      for module <- modules do
        :code.purge(module)
        :code.delete(module)
      end
    end)

    %{page: MyAppWeb.SippetPage}
  end

  defp with_io_captured(fun) do
    test = self()
    warnings = ExUnit.CaptureIO.capture_io(:stderr, fn -> send(test, {:result, fun.()}) end)
    assert_received {:result, result}
    {result, warnings}
  end

  @params %{search: nil, sort_by: :name, sort_dir: :asc, limit: 50}

  defmodule Silent do
    use Sippet.Core
    def receive_request(_request, _key, _stack), do: Process.sleep(:infinity)
    def receive_response(_response, _key, _stack), do: :ok
  end

  test "has its callbacks", %{page: page} do
    assert {:ok, session} = page.init(stack: :mystack)
    assert {:ok, "SIP"} = page.menu_link(session, %{})
    assert {:ok, socket} = page.mount(%{}, session, %{assigns: %{}})
    assert socket.assigns.stack == :mystack
    assert_raise KeyError, fn -> page.init([]) end
  end

  test "has components that there are, with the attributes that they need", %{page: page} do
    tags = page.render(%{page: :page, stack: :mystack})
    assert length(tags) == 12

    for {tag, attributes} <- tags do
      names = Enum.map(attributes, &elem(&1, 0))
      assert names -- @attributes[tag] == []
      assert @required[tag] -- names == []
    end

    tables = for {".live_table", attributes} <- tags, do: Map.new(attributes)
    assert [%{"title" => "Calls in progress"}, %{"title" => ":mystack"}] = tables
    # Each table can be sorted.
    assert Enum.count(tags, fn {tag, a} -> tag == ":col" and List.keymember?(a, "sortable", 0) end) ==
             5
  end

  test "shows the counts and the calls of a stack", %{page: page} do
    import Sippet.Test
    test = self()
    start_supervised!(%{id: :records, start: {CallRecords, :start_link, [&send(test, &1)]}})
    start_supervised!({Sippet.Test, name: :dashboard, core: Silent, telemetry: CallRecords})

    [_calls, counts] =
      for {".live_table", attributes} <- page.render(%{page: :page, stack: :dashboard}),
          do: Map.new(attributes)["row_fetcher"]

    {rows, total} = counts.(@params, node())
    assert total == map_size(Sippet.stats(:dashboard)) and length(rows) == total
    assert %{name: :connection_closed, count: 0} = hd(rows)

    assert {[%{name: :pending}], found} =
             counts.(%{@params | search: "pending", limit: 1}, node())

    assert found ==
             Enum.count(Sippet.stats(:dashboard), fn {name, _count} -> "#{name}" =~ "pending" end)

    deliver(:dashboard, request(:invite, "sip:bob@biloxi.com"))
    deliver(:dashboard, request(:invite, "sip:carol@biloxi.com"))
    Sippet.Transactions.settle(Sippet.Stack.fetch!(:dashboard))
    params = %{@params | sort_by: :called, sort_dir: :desc}
    assert {[first, second], 2} = page.calls(params, node())
    assert {first.called, first.state} == {"sip:carol@biloxi.com", "calling"}
    assert second.called == "sip:bob@biloxi.com"
    assert {:ok, _time, 0} = DateTime.from_iso8601(first.start)
    assert {[%{called: "sip:bob@biloxi.com"}], 1} = page.calls(%{params | search: "bob"}, node())
  end
end

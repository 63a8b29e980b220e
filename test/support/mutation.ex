defmodule Sippet.Mutation do
  @moduledoc false
  # Real messages with a few faults in them, made and made smaller again by PropEr (Debian's erlang-proper). It runs in a VM of
  # its own, where nobody else makes atoms, starts processes or logs.

  alias Sippet.{Corpus, Message, NUL, ParseError}

  @folders ~w(clients rfc4475 rfc4475-extra rfc5118-wire rfc6216-cl)

  @remote {:udp, {192, 0, 2, 7}, 4321}

  @fragments [
    "\r\n",
    "\n",
    "\r",
    "\r\n ",
    "\r\n\r\n",
    "\0",
    "\\",
    "\\\0",
    "\"",
    "<",
    ">",
    "(",
    ",",
    ";",
    "=",
    ":",
    "@",
    "%",
    "%00",
    "%4",
    "?",
    "*",
    "[",
    "[::1]",
    " ",
    "\t",
    "\u{7f}",
    <<0xFF>>,
    "é",
    "-1",
    "0",
    "99999999999",
    "1e999",
    "SIP/2.0",
    "SIP/3.0",
    "ACK",
    "CANCEL",
    "INVITE",
    "sip:",
    "tel:",
    "urn:x",
    ";tag=a",
    ";branch=z9hG4bKa",
    ";rport=x",
    ";received=::1",
    ";maddr=224.0.0.1",
    ";lr",
    ";transport=tcp",
    ";q=2",
    "Content-Length: 5\r\n",
    "l: 0\r\n",
    "Via: SIP/2.0/UDP h\r\n",
    "v: SIP/2.0/TCP [::1]:0\r\n",
    "Route: <sip:h;lr>\r\n",
    "Require: x\r\n",
    "Max-Forwards: 0\r\n",
    "Timestamp: 1.5 .\r\n",
    "m: *\r\n",
    "Date: Mon, 29 Feb 2100 00:00:00 GMT\r\n"
  ]

  @doc """
  Why PropEr can't be used here, or nil.
  """
  @spec missing() :: String.t() | nil
  def missing do
    unless find(), do: "PropEr is not there (Debian: apt-get install erlang-proper)"
  end

  # From Elixir 1.15 on Mix takes the applications of OTP that a project does not name off the code path.
  defp find do
    [:code.root_dir(), "lib/proper-*/ebin"]
    |> Path.join()
    |> Path.wildcard()
    |> Enum.each(&:code.add_pathz(String.to_charlist(&1)))

    Code.ensure_loaded?(:proper)
  end

  @doc """
  The messages that are mutated.
  """
  @spec messages() :: tuple
  def messages do
    List.to_tuple(for folder <- @folders, {_name, octets} <- Corpus.fixtures(folder), do: octets)
  end

  @doc """
  Gives `count` mutated messages to `check`, which raises where something does not hold. Gives by how many atoms the VM's
  table has grown, or the smallest message found that does not pass and why.
  """
  @spec run(pos_integer, (binary -> term)) ::
          {:ok, non_neg_integer} | {:broken, binary, String.t()}
  def run(count, check) do
    true = find()
    Enum.each([:sippet, :elixir, :logger, :stdlib, :proper], &load/1)
    messages = messages()

    # What is made on first use is there after these; PropEr makes an atom more when it is called for the second time.
    with true <- quickcheck(1_000, messages, check),
         true <- quickcheck(1, messages, check),
         before = :erlang.system_info(:atom_count),
         true <- quickcheck(count, messages, check) do
      {:ok, atoms(before)}
    else
      [mutation] -> broken(mutated(messages, mutation), check)
    end
  end

  # A module makes its atoms when it is loaded.
  defp load(application) do
    _loaded = Application.load(application)
    Enum.each(Application.spec(application, :modules), &Code.ensure_loaded/1)
  end

  defp quickcheck(count, messages, check) do
    property =
      proper(:forall, [
        mutation(tuple_size(messages)),
        &(outcome(check, mutated(messages, &1)) == :ok)
      ])

    proper(:quickcheck, [property, [:quiet, :long_result, numtests: count, max_size: 12]])
  end

  # An atom's number in the table is a term of the external format, which no VM but this one understands.
  defp atoms(from) do
    for number <- from..(:erlang.system_info(:atom_count) - 1)//1,
        do: :erlang.binary_to_term(<<131, ?K, number::24>>)
  end

  defp outcome(check, message) do
    check.(message)
    :ok
  rescue
    exception -> Exception.format(:error, exception, __STACKTRACE__)
  catch
    kind, reason -> Exception.format(kind, reason, __STACKTRACE__)
  end

  defp broken(message, check), do: {:broken, message, outcome(check, message)}

  ## What is done to a message

  # A place is so many of 65,536 parts of the message.
  defp mutation(count) do
    place = type(:integer, [0, 65_535])
    length = type(:integer, [0, 60])
    fragment = type(:oneof, [@fragments])

    edit =
      type(:oneof, [
        [
          {:insert, place, fragment},
          {:insert, place, fragment},
          {:put, place, type(:byte, [])},
          {:drop, place, length},
          {:repeat, place, length, type(:integer, [1, 200])},
          {:move, place, place, length},
          {:cut, place},
          {:end_with, place, type(:integer, [0, count - 1]), place}
        ]
      ])

    {type(:integer, [0, count - 1]), type(:list, [edit])}
  end

  # It is not there everywhere, so that the compiler must not look for it.
  defp proper(function, arguments), do: apply(:proper, function, arguments)
  defp type(function, arguments), do: apply(:proper_types, function, arguments)

  defp mutated(messages, {index, edits}),
    do: Enum.reduce(edits, elem(messages, index), &edited(&1, &2, messages))

  defp edited({:insert, place, fragment}, octets, _messages) do
    {before, rest} = split(octets, place)
    before <> fragment <> rest
  end

  defp edited({:put, place, octet}, octets, _messages) do
    {before, rest} = split(octets, place)
    {_octet, rest} = take(rest, 1)
    <<before::binary, octet, rest::binary>>
  end

  defp edited({:drop, place, length}, octets, _messages) do
    {before, rest} = split(octets, place)
    {_dropped, rest} = take(rest, length)
    before <> rest
  end

  defp edited({:repeat, place, length, times}, octets, _messages) do
    {before, rest} = split(octets, place)
    {piece, rest} = take(rest, length)
    before <> String.duplicate(piece, times) <> rest
  end

  defp edited({:move, from, to, length}, octets, messages) do
    {_before, rest} = split(octets, from)
    {piece, _rest} = take(rest, length)
    edited({:insert, to, piece}, octets, messages)
  end

  defp edited({:cut, place}, octets, _messages), do: octets |> split(place) |> elem(0)

  defp edited({:end_with, place, other, from}, octets, messages) do
    {before, _rest} = split(octets, place)
    {_before, rest} = split(elem(messages, other), from)
    before <> rest
  end

  defp split(octets, place), do: take(octets, div(byte_size(octets) * place, 65_536))

  defp take(octets, length) do
    length = min(length, byte_size(octets))
    {binary_part(octets, 0, length), binary_part(octets, length, byte_size(octets) - length)}
  end

  ## What must hold

  @doc """
  Parses: what is taken comes back from its text, what is not is an error that lies in the message.
  """
  @spec parse(binary) :: :ok
  def parse(octets) do
    case Message.parse(octets) do
      {:ok, message} -> round_trip(message)
      {:error, %ParseError{} = error} -> sane(error, octets)
    end
  end

  # Printing always gives a Content-Length and a blank line, so the message that is read back has both.
  defp round_trip(message) do
    :ok = validated(Message.validate(message))
    printed = IO.iodata_to_binary(Message.to_iodata(message))
    body = message.body || ""
    headers = Map.put(NUL.left_out(message.headers), :content_length, byte_size(body))
    same(Message.parse(printed), {:ok, %{message | headers: headers, body: body}})
  end

  defp validated(:ok), do: :ok
  defp validated({:error, text}) when is_binary(text), do: :ok

  defp same(same, same), do: :ok
  defp same(found, expected), do: raise("got #{inspect(found)}, expected #{inspect(expected)}")

  defp sane(error, octets) do
    true = error.offset in 0..byte_size(octets)
    true = error.line in 1..(length(:binary.matches(octets, "\n")) + 1)
    true = String.valid?(Exception.message(error))
    true = String.printable?(error.excerpt)
    :ok
  end

  @doc """
  Gives `count` mutated messages to the Router of a running stack. Gives what `run/2` gives, and what has become of the stack.
  """
  @spec route(pos_integer) :: {{:ok, [atom]} | {:broken, binary, String.t()}, map}
  def route(count) do
    :logger.remove_handler(:default)
    errors = :counters.new(1, [])
    :ok = :logger.add_handler(:count, __MODULE__, %{level: :warning, errors: errors})
    stack = start_stack()
    parts = parts(stack)

    # INVITEs and others
    asked = :counters.new(2, [])
    outcome = run(count, &deliver(stack, asked, &1))
    :ok = settle(stack, asked, 500)

    {outcome,
     %{
       alive?: parts(stack) == parts,
       logged: :counters.get(errors, 1),
       last: Application.get_env(:sippet, :mutation_log),
       asked: :counters.get(asked, 1) + :counters.get(asked, 2),
       stats: Sippet.stats(stack)
     }}
  end

  defp start_stack do
    {:ok, _pid} =
      Sippet.start_link(
        name: __MODULE__.Stack,
        core: __MODULE__.Core,
        t1: 2,
        t2: 8,
        t4: 4,
        answer_timeout: 100
      )

    :ok =
      Sippet.register_transport(__MODULE__.Stack, :udp, false,
        address: {{127, 0, 0, 1}, 5060},
        via: {Sippet.TestTransport, self()}
      )

    __MODULE__.Stack
  end

  # The processes that all calls share.
  defp parts(stack) do
    supervisor = Process.whereis(Sippet.supervisor(stack))

    {supervisor,
     Enum.sort(for {_id, pid, _, _} <- Supervisor.which_children(supervisor), do: pid)}
  end

  # As it is, and as the answer to a request of the stack's own.
  defp deliver(stack, asked, octets) do
    :ok = Sippet.Router.handle_transport_message(stack, octets, @remote)
    method = Enum.at([:invite, :options], rem(byte_size(octets), 2))

    with <<"SIP/2.0 ", _rest::binary>> <- octets, {:ok, branch} <- ask(stack, method) do
      :counters.add(asked, if(method == :invite, do: 1, else: 2), 1)

      for answer <- [answer(octets, method, branch), busy(method, branch)],
          do: :ok = Sippet.Router.handle_transport_message(stack, answer, @remote)
    end

    forget()
  end

  defp ask(stack, method) do
    request =
      method
      |> Message.build_request("sip:b@192.0.2.7:4321")
      |> Message.put_header(:from, {"", Sippet.URI.parse!("sip:a@h"), %{"tag" => "1"}})
      |> Message.put_header(:to, {"", Sippet.URI.parse!("sip:b@h"), %{}})
      |> Message.put_header(:call_id, Message.create_call_id())
      |> Message.put_header(:cseq, {1, method})
      |> Message.put_header(:max_forwards, 70)

    branch = Message.create_branch()
    via = {{2, 0}, :udp, {"127.0.0.1", 5060}, %{"branch" => branch}}

    with :ok <- Sippet.send(stack, Message.put_header(request, :via, [via])), do: {:ok, branch}
  end

  # The mutated answer, in which what makes it find its transaction is put right.
  defp answer(octets, method, branch) do
    method = method |> to_string() |> String.upcase()
    octets = Regex.replace(~r/branch=[\w.-]+/, octets, "branch=" <> branch, global: false)
    Regex.replace(~r/^(CSeq: \d+) \w+/mi, octets, "\\1 " <> method)
  end

  # What ends the transaction, whatever has come before.
  defp busy(method, branch) do
    """
    SIP/2.0 486 Busy Here\r
    Via: SIP/2.0/UDP 127.0.0.1:5060;branch=#{branch}\r
    From: <sip:a@h>;tag=1\r
    To: <sip:b@h>;tag=2\r
    Call-ID: a\r
    CSeq: 1 #{method |> to_string() |> String.upcase()}\r
    \r
    """
  end

  defp forget do
    receive do
      _sent -> forget()
    after
      0 -> :ok
    end
  end

  # No transaction stays for ever; those of an INVITE that was answered with an error wait for Timer D, half a minute.
  defp settle(stack, asked, patience) do
    waiting = Sippet.stats(stack).transactions

    cond do
      waiting <= :counters.get(asked, 1) -> :ok
      patience == 0 -> {:left, waiting, :counters.get(asked, 1)}
      true -> Process.sleep(20) && settle(stack, asked, patience - 1)
    end
  end

  @doc false
  # A handler of :logger.
  def log(event, %{errors: errors}) do
    :counters.add(errors, 1, 1)
    Application.put_env(:sippet, :mutation_log, inspect(event, limit: :infinity))
  end

  defmodule Core do
    @moduledoc false
    # Answers what it is given as most would.

    @behaviour Sippet.Core

    @impl true
    def receive_request(_request, _key), do: raise("the form with the stack is called")

    @impl true
    def receive_request(%{start_line: %{method: :ack}}, _key, _stack), do: :ok

    def receive_request(request, _key, stack),
      do: Sippet.send(stack, Message.to_response(request, 200))

    @impl true
    def receive_response(_response, _key), do: :ok

    @impl true
    def receive_error(_reason, _key), do: :ok
  end
end

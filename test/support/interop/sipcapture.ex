defmodule Sippet.Interop.Sipcapture do
  @moduledoc false
  # Runs Kamailio's module sipcapture, a collector of HEP, with the configuration test/interop/kamailio/sipcapture.cfg. It
  # writes what it has decoded into a table, a row for each message.

  alias Sippet.Interop.Program

  @configuration Path.expand("../../interop/kamailio/sipcapture.cfg", __DIR__)

  # modules/sipcapture/sipcapture.c: what a row has in Kamailio 5.6
  @columns ~w(id date micro_ts method reply_reason ruri ruri_user ruri_domain from_user from_domain from_tag
              to_user to_domain to_tag pid_user contact_user auth_user callid callid_aleg via_1 via_1_branch cseq
              diversion reason content_type auth user_agent source_ip source_port destination_ip destination_port
              contact_ip contact_port originator_ip originator_port correlation_id custom_field1 custom_field2
              custom_field3 proto family rtp_stat type node msg)

  @numbers ~w(source_port destination_port contact_port originator_port proto family type)

  # In ms.
  @pause 200

  @type t :: %{program: Program.t(), folder: Path.t(), port: :inet.port_number()}

  @spec start() :: t
  def start do
    port = Program.free_port()
    folder = Program.new_folder("sipcapture")

    File.write!(
      Path.join(folder, "version"),
      "table_name(string) table_version(int)\nsip_capture:4\n"
    )

    File.write!(Path.join(folder, "sip_capture"), Enum.map_join(@columns, " ", &column/1) <> "\n")

    arguments =
      ~w(-f #{@configuration} -DD -E -m 32 -M 4 -w #{folder} -Y #{folder} -l udp:127.0.0.1:#{port}) ++
        ["-A", ~s(TABLES="text://#{folder}")]

    program = Program.start("kamailio", arguments, folder: folder, limit: 30)
    %{program: Program.await_bound(program, port), folder: folder, port: port}
  end

  defp column("id"), do: "id(int,auto)"
  defp column("date"), do: "date(time,null)"
  # db_text has no whole numbers that are long enough, and writes none.
  defp column("micro_ts"), do: "micro_ts(double,null)"
  defp column(name) when name in @numbers, do: "#{name}(int,null)"
  defp column(name), do: "#{name}(string,null)"

  @doc """
  Waits until so many messages have come, ends the collector, which writes its table then, and gives the rows: each is a
  map of its columns, as text.
  """
  @spec rows(t, pos_integer) :: [%{String.t() => String.t()}]
  def rows(%{program: program, folder: folder}, count) do
    program = Program.await_output(program, ~r/(CAPTURED.*){#{count}}/s)

    # Kamailio's handler of the signal writes a line: one that meets it within a line would wait for itself.
    Process.sleep(@pause)
    %{exit: 0} = Program.stop(program)

    [_columns | rows] =
      folder |> Path.join("sip_capture") |> File.read!() |> String.split("\n", trim: true)

    Enum.map(rows, &row/1)
  end

  # A colon divides, unless a backslash is before it.
  defp row(line) do
    values = for value <- String.split(line, ~r/(?<!\\):/), do: String.replace(value, "\\:", ":")
    @columns |> Enum.zip(values) |> Map.new()
  end
end

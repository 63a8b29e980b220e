defmodule Sippet.Transports.Stream.Acceptor do
  @moduledoc false
  # Accepts connections, and gives each to a process of its own.

  use Task, restart: :permanent

  alias Sippet.Transports.Stream.{Connection, Table, Told}

  # How long it rests where the system has no descriptor left, in ms.
  @rest 100

  @spec child_spec({pos_integer, map}) :: Supervisor.child_spec()
  def child_spec({number, options}) do
    %{id: {__MODULE__, number}, start: {__MODULE__, :start_link, [options]}, restart: :permanent}
  end

  @spec start_link(map) :: {:ok, pid}
  def start_link(options) do
    Task.start_link(fn -> accept(options, Table.get(options.table, :listener)) end)
  end

  defp accept(%{module: module} = options, listener) do
    case module.accept(listener) do
      {:ok, socket} ->
        give(socket, options)
        accept(options, listener)

      {:error, :closed} ->
        exit({:shutdown, :closed})

      # RFC3261§18.4 - this one is lost, and the next may come
      {:error, reason} ->
        Told.refused(options, nil, :in, reason)
        if reason in [:emfile, :enfile, :enobufs, :enomem], do: Process.sleep(@rest)
        accept(options, listener)
    end
  end

  defp give(socket, %{module: module, table: table} = options) do
    with {:ok, remote} <- module.remote_address(socket),
         child = {Connection, {{:from, remote}, options}},
         {:ok, pid} <- DynamicSupervisor.start_child(Table.get(table, :connections), child),
         :ok <- module.controlling_process(socket, pid) do
      Connection.take(pid, socket)
    else
      # It is gone already, or there are too many.
      {:error, _reason} -> module.close(socket)
    end
  catch
    :exit, _ended -> module.close(socket)
  end
end

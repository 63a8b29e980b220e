defmodule Sippet.NAT do
  @moduledoc false
  # A NAT between one phone and one server: what the phone sends to `inside` leaves by a socket at another address, and what
  # the server sends back to that reaches the phone. What anybody else sends there is dropped, as a NAT with filters does.

  use GenServer

  @inside {127, 0, 0, 1}
  @outside {127, 0, 0, 2}

  @spec start_link({:inet.ip_address(), :inet.port_number()}) :: GenServer.on_start()
  def start_link(server), do: GenServer.start_link(__MODULE__, server)

  @doc """
  Where the phone sends to, and where the server sees it.
  """
  @spec addresses(pid) :: {inside :: tuple, outside :: tuple}
  def addresses(nat), do: GenServer.call(nat, :addresses)

  @impl true
  def init(server) do
    {:ok, inside} = :gen_udp.open(0, [:binary, ip: @inside, active: true])
    {:ok, outside} = :gen_udp.open(0, [:binary, ip: @outside, active: true])
    {:ok, %{inside: inside, outside: outside, server: server, phone: nil}}
  end

  @impl true
  def handle_call(:addresses, _from, %{inside: inside, outside: outside} = nat) do
    {:ok, inside} = :inet.sockname(inside)
    {:ok, outside} = :inet.sockname(outside)
    {:reply, {inside, outside}, nat}
  end

  @impl true
  def handle_info({:udp, inside, ip, port, octets}, %{inside: inside} = nat) do
    {server, server_port} = nat.server
    :ok = :gen_udp.send(nat.outside, server, server_port, octets)
    {:noreply, %{nat | phone: {ip, port}}}
  end

  def handle_info(
        {:udp, outside, ip, port, octets},
        %{outside: outside, phone: {phone, at}} = nat
      ) do
    if {ip, port} == nat.server, do: :ok = :gen_udp.send(nat.inside, phone, at, octets)
    {:noreply, nat}
  end

  def handle_info({:udp, _outside, _ip, _port, _octets}, nat), do: {:noreply, nat}
end

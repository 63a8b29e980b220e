defmodule Sippet.ReplacesTest do
  use ExUnit.Case, async: true

  alias Sippet.{Dialog, Message, Refer, Replaces, URI}

  doctest Replaces

  @noise ~c"a@;=<>%&?,: 0" ++ [?\", ?\\, ?\t, 1, 255]

  defp dialog(changes \\ []) do
    dialog = %Dialog{
      state: :confirmed,
      role: :uac,
      method: :invite,
      call_id: "425928@bobster.example.org",
      local_tag: "7743",
      remote_tag: "6472",
      local: {"", URI.parse!("sip:bob@biloxi.com"), %{"tag" => "7743"}},
      remote: {"", URI.parse!("sip:alice@atlanta.com"), %{"tag" => "6472"}},
      remote_target: URI.parse!("sip:alice@192.0.2.1")
    }

    struct!(dialog, changes)
  end

  defp request(method \\ :invite, headers) do
    method
    |> Message.build_request("sip:bob@192.0.2.4")
    |> Message.put_header(:from, {"", URI.parse!("sip:carol@chicago.com"), %{}})
    |> Message.put_header(:via, [{{2, 0}, :udp, {"192.0.2.1", 5060}, %{}}])
    |> Message.complete()
    |> Message.put_headers(headers)
  end

  # The same dialog, seen from the other end.
  defp other_end(%Dialog{} = dialog),
    do: %{dialog | local_tag: dialog.remote_tag, remote_tag: dialog.local_tag}

  @replaces "425928@bobster.example.org;to-tag=7743;from-tag=6472"

  defp status({:error, response}), do: response.start_line.status_code

  describe "put/3" do
    test "writes the dialog as the far end has it, which finds it" do
      mine = dialog()
      invite = Replaces.put(request([]), mine) |> Message.to_string() |> Message.parse!()
      assert Replaces.find(invite, [other_end(mine)]) == {:ok, other_end(mine)}
      assert Replaces.dialog_id(invite) == {:ok, Dialog.id(other_end(mine))}
    end

    test "requires the extension once, beside others" do
      invite = Replaces.put(request(require: ["100rel"]), dialog())
      assert invite.headers.require == ["100rel", "replaces"]
      assert Replaces.put(invite, dialog()).headers.require == ["100rel", "replaces"]
    end

    test "says early-only" do
      invite = Replaces.put(request([]), dialog(), early_only: true)
      assert [text] = invite.headers["Replaces"]
      assert text =~ ~r/;early-only$/
    end

    test "prints a Call-ID that breaks the grammar as it came" do
      invite = Replaces.put(request([]), dialog(call_id: "no call id"))
      assert Message.to_string(invite) =~ "Replaces: no call id;to-tag=6472;from-tag=7743\r\n"
    end
  end

  describe "put_uri/3" do
    test "goes through a REFER, and comes out as the Replaces of the INVITE" do
      mine = dialog()

      uri =
        Replaces.put_uri(URI.parse!("sip:alice@192.0.2.1;transport=tcp"), mine, early_only: true)

      refer = request(:refer, Refer.headers(uri)) |> Message.to_string() |> Message.parse!()
      assert {:ok, transfer} = Refer.read(refer)
      invite = Refer.request(transfer)
      assert to_string(invite.start_line.request_uri) == "sip:alice@192.0.2.1;transport=tcp"
      assert Replaces.dialog_id(invite) == {:ok, Dialog.id(other_end(mine))}
      early = %{other_end(mine) | state: :early}
      assert Replaces.find(invite, [early]) == {:ok, early}
    end

    test "leaves other headers of the URI" do
      uri = Replaces.put_uri(URI.parse!("sip:alice@192.0.2.1?Subject=lunch"), dialog())
      assert %{"Subject" => "lunch", "Replaces" => _} = URI.decode_headers(uri.headers)
    end
  end

  describe "dialog_id/1" do
    test "is none without the header" do
      assert Replaces.dialog_id(request([])) == :none
      assert Replaces.find(request([]), [dialog()]) == :none
    end

    for {what, method, lines} <- [
          {"that lacks to-tag", :invite, ["a@b;from-tag=6472"]},
          {"that lacks from-tag", :invite, ["a@b;to-tag=7743"]},
          {"with an empty tag", :invite, ["a@b;to-tag=;from-tag=6472"]},
          {"with the other tag empty", :invite, ["a@b;to-tag=7743;from-tag="]},
          {"that is malformed", :invite, ["a b"]},
          {"that is empty", :invite, [""]},
          {"that stands there twice", :invite, [@replaces, @replaces]},
          {"in a request that is no INVITE", :bye, [@replaces]}
        ] do
      test "is a 400 for a header #{what}" do
        request = request(unquote(method), [{"Replaces", unquote(lines)}])
        assert {:error, response} = Replaces.dialog_id(request)
        assert response.start_line.reason_phrase == "Bad Request (Replaces)"
        assert status(Replaces.find(request, [dialog()])) == 400
      end
    end
  end

  describe "find/2: RFC3891§3" do
    # dialog, early-only?, result
    for {what, changes, early_only?, result} <- [
          {"a confirmed dialog", [], false, :ok},
          {"a confirmed dialog, early-only", [], true, 486},
          {"a confirmed dialog of the called side", [role: :uas], false, :ok},
          {"an early dialog that we made", [state: :early], false, :ok},
          {"an early dialog that we made, early-only", [state: :early], true, :ok},
          {"an early dialog of the called side", [state: :early, role: :uas], false, 481},
          {"a dialog that has ended", [state: :terminated], false, 603},
          {"a dialog that has ended, early-only", [state: :terminated], true, 603},
          {"the dialog of a subscription", [method: :subscribe], false, 481},
          {"another Call-ID", [call_id: "x"], false, 481},
          {"another local tag", [local_tag: "x"], false, 481},
          {"another remote tag", [remote_tag: "x"], false, 481},
          {"the tags turned round", [local_tag: "6472", remote_tag: "7743"], false, 481}
        ] do
      test "#{what}: #{result}" do
        text = @replaces <> if(unquote(early_only?), do: ";early-only", else: "")
        dialog = dialog(unquote(Macro.escape(changes)))
        found = Replaces.find(request([{"Replaces", [text]}]), [dialog(call_id: "other"), dialog])

        case unquote(result) do
          :ok -> assert found == {:ok, dialog}
          status -> assert status(found) == status
        end
      end
    end

    test "a tag of 0 is that of a peer without tags" do
      dialog = dialog(remote_tag: nil)
      invite = request([{"Replaces", ["425928@bobster.example.org;to-tag=7743;from-tag=0"]}])
      assert Replaces.find(invite, [dialog]) == {:ok, dialog}

      assert ["425928@bobster.example.org;to-tag=0;from-tag=7743"] =
               Replaces.put(request([]), dialog).headers["Replaces"]
    end
  end

  test "random octets never raise" do
    :rand.seed(:exsss, {1, 2, 3})

    for _ <- 1..2_000 do
      noise =
        for _ <- 1..:rand.uniform(12),
            into: "",
            do: <<Enum.random(@noise)>>

      text = if :rand.uniform(2) == 1, do: noise, else: @replaces <> noise
      result = Replaces.find(request([{"Replaces", [text]}]), [dialog()])
      assert match?({:error, %Message{}}, result) or match?({:ok, _dialog}, result)
    end
  end
end

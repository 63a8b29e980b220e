defmodule Sippet.RFC3261.Section11Test do
  use Sippet.DialogCase, async: true

  alias Sippet.UAS

  describe "RFC3261§11 OPTIONS" do
    test "outside of a dialog is refused for what an INVITE is refused for" do
      options = [allow: ["INVITE", "OPTIONS"], accept: [{"application", "sdp"}]]

      for {headers, body, status} <- [
            {[require: ["100rel"]], "", 420},
            {[content_type: {{"text", "plain"}, %{}}], "hello", 415}
          ],
          method <- [:invite, :options] do
        request = %{alices(method, 1, headers) | body: body}
        assert {:error, response} = UAS.validate(request, options)
        assert response.start_line.status_code == status
      end
    end

    test "within a dialog leaves it as it is, but for its number" do
      contact = [contact: [address("sip:alice@192.0.2.9")]]
      {:ok, dialog} = Dialog.receive_request(bob(), alices(:ack, 7))
      assert {:ok, later} = Dialog.receive_request(dialog, alices(:options, 8, contact))
      assert later == %{dialog | remote_seq: 8}
    end
  end
end

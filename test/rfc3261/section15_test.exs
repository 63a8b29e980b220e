defmodule Sippet.RFC3261.Section15Test do
  use Sippet.DialogCase, async: true

  describe "RFC3261§15.1.1 a BYE" do
    test "is a request within the dialog, confirmed or early, with its tags and next number" do
      for status <- [180, 200] do
        {bye, _dialog} = next(alice(status), :bye)
        assert Dialog.id(bye) == Dialog.id(bob())
        assert bye.headers.cseq == {8, :bye}
      end
    end

    test "that gets 481 or 408, or no response, ends the dialog" do
      {bye, dialog} = next(alice(), :bye)
      assert Dialog.receive_error(dialog, bye.start_line.method, :timeout).state == :terminated

      for status <- [200, 481, 408] do
        assert received(dialog, answer(alices(:bye, 8), status)).state == :terminated
      end
    end
  end

  describe "RFC3261§15.1.2 a BYE that comes" do
    test "of a lower number gets 500, as any request" do
      assert {:error, response} = Dialog.receive_request(bob(), alices(:bye, 6))
      assert response.start_line.status_code == 500
    end

    test "of the next number is taken" do
      assert {:ok, %{remote_seq: 8}} = Dialog.receive_request(bob(), alices(:bye, 8))
    end
  end

  describe "RFC3261§15 a BYE that comes" do
    test "ends the dialog, confirmed or early" do
      for status <- [180, 200] do
        assert {:ok, dialog} = Dialog.receive_request(bob([], status), alices(:bye, 8))
        assert dialog.state == :terminated
      end
    end
  end
end

/* Arrays of numbers, which the page holds as base64 of their bytes. */

/** The bytes as numbers of a kind of typed array. */
function unpacked(text, Kind) {
  const characters = atob(text);
  const bytes = new Uint8Array(characters.length);
  for (let index = 0; index < bytes.length; index++) bytes[index] = characters.charCodeAt(index);
  return new Kind(bytes.buffer);
}

/** Why YAML cannot be read: the parser recurses, and of what is nested deeper than its stack it would only say the engine's words. */
export function yamlReason({ message }: { readonly message: string }): string {
  return /maximum call stack|too much recursion/i.test(message) ? 'lists or maps are nested too deep' : message;
}

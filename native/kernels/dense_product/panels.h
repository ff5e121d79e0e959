// Splits a block into blocks of one panel, up to 64 columns each. Included into an anonymous namespace inside
// mbok::<isa>.

template <class Multiply>
void for_each_panel(const ProductBlock& block, Multiply multiply) {
  for (int64_t col = 0; col < block.cols; col += kPanelCols) {
    ProductBlock panel = block;
    panel.cols = block.cols - col < kPanelCols ? block.cols - col : kPanelCols;
    panel.b = static_cast<const float*>(block.b) + col / kPanelCols * block.b_panel;
    panel.c = block.c + col;
    if (block.bias != nullptr) panel.bias = block.bias + col;
    multiply(panel);
  }
}
